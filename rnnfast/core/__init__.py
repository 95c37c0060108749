"""The compiled engine: arrays in, arrays out. `runtime` works without the compiled modules too."""
