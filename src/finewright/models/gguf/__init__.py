"""Models in one GGUF file, the format of llama.cpp: converted once into a model folder of the cache, and used from there."""
