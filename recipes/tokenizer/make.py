"""Writes tokenizer.json beside this file: 256 bytes, what questions made by `ruminate tasks` repeat,
and the marks of a conversation. Needs the package tokenizers.

    ruminate tasks --count 4000 --written slow | python3 recipes/tokenizer/make.py
"""

import json
import pathlib
import re
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 768
MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
# Qwen's: digits stand alone, so that arithmetic is done on digits.
PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def texts():
    yield from ["user", "assistant", "system"] * 1000
    for line in sys.stdin:
        row = json.loads(line)
        for text in (row["question"], row["completion"]):
            # Only words and blank lines are worth a token of their own: signs stay single.
            bare = text.replace("<think>", "").replace("</think>", "")
            yield from re.findall(r" ?[^\W\d_]+|\n\n|[？！。，、：]", bare)


def main():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(MARKS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    marks = [AddedToken(mark, special="think" not in mark, normalized=False) for mark in MARKS]
    tokenizer.add_tokens(marks)
    out = pathlib.Path(__file__).with_name("tokenizer.json")
    tokenizer.save(str(out))
    print(f"{out}: {tokenizer.get_vocab_size()} tokens")


main()
