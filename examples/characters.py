"""Learn to write Python's documentation, character by character: rows A6, B4 and D3.

Truncated BPTT: 16 streams of text are read side by side, 48 characters at a time, each from the
state in which the last 48 were left; the gradients' norm is clipped. The last tenth of the text is
held out. The baseline is the 5-gram of `python -m rnnfast demo` with modified Kneser-Ney smoothing,
stronger than the other two kinds that were tried. One seed, for time.
"""

from __future__ import annotations

import math
from functools import partial

from common import Options, Row, main, save

import rnnfast as rf
from rnnfast.demo import Text, ngram_bits


def example(options: Options) -> list[Row]:
    limit = 20_000 if options.quick else None
    characters = rf.datasets.pydoc_text()[:limit]
    text = Text.of(characters, len(characters) * 9 // 10)
    streams, steps, epochs = 16, 48, 1 if options.quick else 8
    batches = math.ceil((text.cut - 1) // streams / steps)
    schedule = partial(rf.OneCycleLR, max_lr=5e-3, total_steps=epochs * batches, pct_start=0.1)
    bits = []
    for seed in range(options.seeds):
        model = rf.LanguageModel(
            hidden_size=32 if options.quick else 256,
            num_layers=2,
            embedding_size=64,
            dropout=0.2,
            steps=steps,
            batch_size=streams,
            optimizer=lambda network, lr: rf.AdamW(network, lr, weight_decay=0.05),
            callbacks=[schedule],
            max_iter=epochs,
            random_state=seed,
        )
        model.fit(characters[: text.cut])
        bits.append(model.bits_per_character(characters[text.cut :]))

    for temperature in (0.5, 0.8, 1.1):
        written = model.generate(300, temperature, prompt="A list is ", random_state=0)
        print(f"At temperature {temperature}:\n\nA list is {written}\n")
    axes = rf.plots.learning_curve(model)
    axes.set(
        title="A character model of Python's documentation",
        ylabel="cross-entropy of the training text, nats",
    )
    save(axes, options, "characters")
    gram = float(ngram_bits(text.ids, text.cut, text.symbols).mean())
    return [
        Row(
            "A6, B4, D3",
            "LSTM 256-256, truncated BPTT",
            "bits per character",
            bits,
            gram,
            {"5-gram": gram},
            epoch=min(model.history_["seconds"]),
            note="goal: the 5-gram",
        )
    ]


if __name__ == "__main__":
    main(example, __doc__, seeds=1)
