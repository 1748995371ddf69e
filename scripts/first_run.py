"""The main job on what is at hand: `make demo`.

With real files beside the project (`../shared`) it fine-tunes a real pre-trained model on real questions. Without them it
makes a tiny model with random weights, which shows every step but has nothing to transfer.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
REAL_MODEL, REAL_DATA = SHARED / "models" / "all-MiniLM-L6-v2", SHARED / "data" / "trec6"
SAMPLE = ROOT / "scripts" / "sample.csv"


def random_gpt2(folder: Path) -> Path:
    """A GPT-2 of 0.2 M random weights with a byte-level tokenizer learnt from the sample."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    pieces = ByteLevelBPETokenizer()
    pieces.train([str(SAMPLE)], vocab_size=600, min_frequency=2, special_tokens=["<|endoftext|>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces._tokenizer, eos_token="<|endoftext|>")
    tokenizer.save_pretrained(folder)
    shape = {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": 128}
    config = GPT2Config(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, **shape)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def finewright(*words: str) -> None:
    """Run a command as a person would, and show it."""
    print(f"\n$ finewright {' '.join(words)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "finewright.cli", *words], check=False).returncode
    if code:
        sys.exit(code)


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        if REAL_MODEL.is_dir() and REAL_DATA.is_dir():
            model, data, method = REAL_MODEL, REAL_DATA, "lora"
            texts = ["Who wrote the first computer program ?", "How many islands does Denmark have ?"]
        else:
            print("No pre-trained model beside the project: a tiny random one shows the steps, its accuracy means nothing.")
            model, data, method = random_gpt2(Path(place)), SAMPLE, "scratch"
            texts = ["Where is my parcel?", "I was charged twice"]
        number = 1
        while (run := ROOT / "runs" / f"demo-{number}").exists():
            number += 1
        finewright("train", str(data), "--model", str(model), "--method", method, "--out", str(run))
        finewright("predict", str(run), *texts)


if __name__ == "__main__":
    main()
