"""What training will cost, and the setup and method that fit, before weights are loaded."""
