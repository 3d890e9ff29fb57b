"""PyTorch's training pass, run by run at a word from outside.

`training.py THREADS` makes up the weights of a model of each case, says `ready NAME`, and waits: an
empty line runs one pass, forward and backward, and is answered with `took FORWARD ALL` in seconds;
`next` goes on to the next case. The cases are those of `crates/model/examples/learning.rs`.
"""

import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

CASES = [
    # name, vocabulary, dim, layers, heads, key/value heads, hidden, tied head, sequences, length
    ("135M Llama, 4 x 256", 49_152, 576, 30, 9, 3, 1_536, True, 4, 256),
    ("6 layers x 256, 8 x 256", 4_096, 256, 6, 4, 4, 1_024, False, 8, 256),
]


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


def turned(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


class Layer(nn.Module):
    def __init__(self, dim, heads, kv_heads, hidden):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, dim // heads
        self.attention_norm, self.ffn_norm = nn.RMSNorm(dim, 1e-5), nn.RMSNorm(dim, 1e-5)
        self.query, self.out = linear(dim, dim), linear(dim, dim)
        self.key = linear(dim, kv_heads * self.head_dim)
        self.value = linear(dim, kv_heads * self.head_dim)
        self.gate, self.up = linear(dim, hidden), linear(dim, hidden)
        self.down = linear(hidden, dim)

    def forward(self, x, cos, sin):
        n, length, dim = x.shape
        h = self.attention_norm(x)

        def heads(y, count):
            return y.view(n, length, count, self.head_dim).transpose(1, 2)

        query = turned(heads(self.query(h), self.heads), cos, sin)
        key = turned(heads(self.key(h), self.kv_heads), cos, sin)
        value = heads(self.value(h), self.kv_heads)
        shares = self.heads != self.kv_heads
        mixed = F.scaled_dot_product_attention(
            query, key, value, is_causal=True, enable_gqa=shares
        )
        x = x + self.out(mixed.transpose(1, 2).reshape(n, length, dim))
        h = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self, vocab, dim, layers, heads, kv_heads, hidden, tied):
        super().__init__()
        self.embedding = nn.Embedding(vocab, dim)
        self.layers = nn.ModuleList(Layer(dim, heads, kv_heads, hidden) for _ in range(layers))
        self.norm = nn.RMSNorm(dim, 1e-5)
        self.head = linear(dim, vocab)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens, cos, sin):
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.head(self.norm(x))


def run(model, tokens, cos, sin):
    """The seconds of a forward pass, and of it with its backward pass."""
    for parameter in model.parameters():
        parameter.grad = None
    start = time.perf_counter()
    logits = model(tokens[:, :-1], cos, sin)
    loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    forward = time.perf_counter() - start
    loss.backward()
    return forward, time.perf_counter() - start


def main():
    torch.set_num_threads(int(sys.argv[1]))
    print(f"version {torch.__version__}", flush=True)
    for name, vocab, dim, layers, heads, kv_heads, hidden, tied, n, length in CASES:
        torch.manual_seed(1)
        model = Llama(vocab, dim, layers, heads, kv_heads, hidden, tied)
        half = dim // heads // 2
        angles = torch.arange(length)[:, None] * 1e4 ** (-torch.arange(half) / half)
        angles = torch.cat([angles, angles], -1)
        tokens = torch.randint(0, vocab, (n, length + 1))
        print(f"ready {name}", flush=True)
        for line in sys.stdin:
            if line.strip() == "next":
                break
            forward, both = run(model, tokens, angles.cos(), angles.sin())
            print(f"took {forward} {both}", flush=True)


main()
