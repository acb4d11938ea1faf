"""Draw the picture of the documentation: prompts by seeds, the worst and the best of 32 by the miniature scorer.

python training/picture_grid.py docs/img/tiny-grid.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import evaluate
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hpskit.embedded import EXAMPLE_PROMPTS, load_generator
from hpskit.images import to_pil

CELL, GAP, TEXT, FIRST_SEEDS, POOL = 144, 6, 17, 4, 32


@torch.no_grad()
def rows(prompts: tuple[str, ...]) -> list[tuple[str, Tensor, list[str]]]:
    """Return prompt, six images [6, 3, CELL, CELL] and their captions for each prompt."""
    generator, (_, score) = load_generator(), evaluate.load_scorer()
    result = []
    for prompt in prompts:
        latent = generator.sample(prompt, generator.noise(range(POOL)))
        scores = score(generator.decode(latent, 256), [prompt] * POOL)
        worst, best = int(scores.argmin()), int(scores.argmax())
        chosen = [*range(FIRST_SEEDS), worst, best]
        names = [*(f"seed {i}" for i in range(FIRST_SEEDS)), f"worst of {POOL}", f"best of {POOL}"]
        captions = [f"{name}: {scores[i]:.1f}" for name, i in zip(names, chosen, strict=True)]
        result.append((prompt, generator.decode(latent[chosen], CELL), captions))
    return result


def compose(table: list[tuple[str, Tensor, list[str]]]) -> Image.Image:
    """Lay the rows out on white, the prompt above each row and the score below each picture."""
    columns = len(table[0][2])
    height = TEXT + CELL + TEXT + GAP
    sheet = Image.new("RGB", (columns * (CELL + GAP) + GAP, len(table) * height + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for row, (prompt, images, captions) in enumerate(table):
        top = GAP + row * height
        pen.text((GAP, top + 2), prompt, fill="black", font=font)
        for column, (image, caption) in enumerate(zip(images, captions, strict=True)):
            left = GAP + column * (CELL + GAP)
            sheet.paste(to_pil(image), (left, top + TEXT))
            pen.text((left, top + TEXT + CELL + 2), caption, fill=(70, 70, 70), font=font)
    return sheet


def main() -> None:
    """Command line: where to write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    compose(rows(EXAMPLE_PROMPTS[:8])).save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
