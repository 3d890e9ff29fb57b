"""llama.cpp at the other end of a pipe, for `cargo xtask peers`.

Command:  python llama.py serve           one JSON object a line each way
          python llama.py first M T N     a model file to its first token, in a process of its own
          python llama.py child PROGRAM…  the seconds and the peak memory of another program

It calls llama.cpp's C interface, as its own programs do: what Python adds to a step is some
microseconds. Tokens are those that `ruminate bench` takes.
"""

import json
import math
import pathlib
import resource
import subprocess
import sys
import time

N_BATCH = 512
# The cache of a sequence comes in so many cells.
CELLS = 256
# A past that takes longer than this is not computed once more to try the other kind of attention.
PAST_SECONDS_MAX = 10.0
# Steps by which both kinds are told apart.
TRIAL = 16
FLASH = {"on": 1, "off": 0}


def token(stream, position, vocab):
    """The token at a position of a stream: the finaliser of splitmix64, as in `ruminate bench`."""
    mask = (1 << 64) - 1
    x = ((stream << 20 ^ position) + 0x9E3779B97F4A7C15) & mask
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & mask
    x = (x ^ x >> 27) * 0x94D049BB133111EB & mask
    return ((x ^ x >> 31) & 0xFFFFFFFF) % vocab


class Llama:
    """A model, and the context of what is measured."""

    def __init__(self):
        import ctypes

        from llama_cpp import llama_cpp

        self.c, self.ctypes, self.lines = llama_cpp, ctypes, []
        self.model = self.context = self.case = self.flash = None
        # Prompt tokens a second, as far as is known.
        self.rate = math.inf

        def note(_level, text, _data):
            self.lines.append(text.decode("utf-8", "replace"))

        # Kept, or it would be freed under llama.cpp.
        self.note = llama_cpp.llama_log_callback(note)
        llama_cpp.llama_log_set(self.note, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self.batch = llama_cpp.llama_batch_init(N_BATCH, 0, 1)
        self.plain = self.plain_buffers()

    def plain_buffers(self):
        """Keeps matrices of latent attention, which are three-dimensional, out of AMX's buffers.

        There llama.cpp 0.5.0 aborts on them: no backend takes the product.
        """
        ctypes = self.ctypes

        class Override(ctypes.Structure):
            _fields_ = [("pattern", ctypes.c_char_p), ("buffer", ctypes.c_void_p)]

        folder = pathlib.Path(self.c.__file__).parent / "lib"
        buffer_type = ctypes.CDLL(str(folder / "libggml-base.so")).ggml_backend_cpu_buffer_type
        buffer_type.restype = ctypes.c_void_p
        # The list ends with an empty one.
        return (Override * 2)(Override(rb"attn_(k|v)_b\.weight", buffer_type()), Override())

    def info(self):
        import llama_cpp

        return {
            "package": llama_cpp.__version__,
            "version": self.c.llama_version().decode(),
            "system": self.c.llama_print_system_info().decode().strip(),
        }

    def load(self, path, threads):
        """Loads a model, mapped, in place of the one before it."""
        self.close()
        self.lines.clear()
        params = self.c.llama_model_default_params()
        params.n_gpu_layers = 0
        params.load_mode = self.c.LLAMA_LOAD_MODE_MMAP
        params.tensor_buft_overrides = self.ctypes.addressof(self.plain)
        self.model = self.c.llama_model_load_from_file(path.encode(), params)
        if not self.model:
            said = [line.strip() for line in self.lines if "error" in line.lower()]
            raise RuntimeError(f"llama.cpp refuses {path}: " + " | ".join(said[-3:]))
        self.threads = threads
        self.vocab = self.c.llama_vocab_n_tokens(self.c.llama_model_get_vocab(self.model))
        buffers = [line.split(":", 1)[-1] for line in self.lines if "model buffer size" in line]
        return {"buffers": [" ".join(line.split()) for line in buffers]}

    def open(self, streams, tokens, flash):
        """A context for streams of so many tokens each."""
        self.free()
        params = self.c.llama_context_default_params()
        params.n_ctx = streams * -(-tokens // CELLS) * CELLS
        params.n_batch = params.n_ubatch = N_BATCH
        params.n_seq_max = streams
        params.n_threads = params.n_threads_batch = self.threads
        params.flash_attn_type = FLASH[flash]
        self.context = self.c.llama_init_from_model(self.model, params)
        if not self.context:
            raise RuntimeError("llama.cpp makes no context: " + "".join(self.lines[-3:]).strip())
        self.memory = self.c.llama_get_memory(self.context)
        self.flash = flash

    def free(self):
        if self.context:
            self.c.llama_free(self.context)
            self.context = None

    def close(self):
        self.free()
        if self.model:
            self.c.llama_model_free(self.model)
            self.model = None

    def step(self, rows):
        """Decodes rows of (token, position, stream, whether its logits are wanted)."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (token, position, stream, wanted) in enumerate(rows):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = stream
            batch.logits[i] = wanted
        status = self.c.llama_decode(self.context, batch)
        if status != 0:
            raise RuntimeError(f"llama_decode: status {status}")

    def prompts(self, streams, tokens):
        """The prompts of all streams in full batches, one stream after the other."""
        rows = []
        for stream in range(streams):
            for position in range(tokens):
                token_ = token(stream, position, self.vocab)
                rows.append((token_, position, stream, position == tokens - 1))
                if len(rows) == N_BATCH:
                    self.step(rows)
                    rows = []
        if rows:
            self.step(rows)

    def answers(self, streams, start, end):
        """One token of each stream a step."""
        for position in range(start, end):
            rows = [(token(s, position, self.vocab), position, s, True) for s in range(streams)]
            self.step(rows)

    def finite(self):
        logit = self.c.llama_get_logits_ith(self.context, -1)[0]
        if not math.isfinite(logit):
            raise RuntimeError("llama.cpp computes what is no number")

    def ready(self, case, flash):
        """A context in which the case can run, its past computed."""
        streams, past, new = case["streams"], case["past"], case["input"] + case["output"]
        self.open(streams, past + new, flash)
        if past:
            self.prompts(streams, past)

    def once(self, case):
        """The seconds of one run."""
        streams, past, output = case["streams"], case["past"], case["output"]
        for stream in range(streams):
            self.c.llama_memory_seq_rm(self.memory, stream, past, -1)
        start = time.perf_counter()
        if case["input"]:
            self.prompts(streams, case["input"])
        first = past + case["input"]
        self.answers(streams, first, first + output)
        self.finite()
        seconds = time.perf_counter() - start
        if not output:
            self.rate = case["input"] / seconds
        return seconds

    def prepare(self, case):
        """Tries both kinds of attention, and stays with the faster one."""
        self.case = case
        trial = {**case, "output": min(case["output"], TRIAL)}
        tried = case["past"] <= PAST_SECONDS_MAX * self.rate
        off = math.inf
        if tried:
            self.ready(case, "off")
            off = self.once(trial)
        self.ready(case, "on")
        if self.once(trial) > off:
            self.ready(case, "off")
            self.once(trial)
        return {"flash": self.flash, "tried": tried}

    def score(self, ids):
        """The mean of -log p over all tokens but the first, in f64 from f32 logits."""
        import numpy

        self.open(1, len(ids), "on")
        total = 0.0
        for start in range(0, len(ids), N_BATCH):
            part = ids[start : start + N_BATCH]
            self.step([(t, start + i, 0, True) for i, t in enumerate(part)])
            pointer = self.c.llama_get_logits(self.context)
            logits = numpy.ctypeslib.as_array(pointer, shape=(len(part), self.vocab))
            logits = logits.astype(numpy.float64)
            most = logits.max(axis=1)
            sums = most + numpy.log(numpy.exp(logits - most[:, None]).sum(axis=1))
            for i in range(len(part)):
                if start + i + 1 < len(ids):
                    total += sums[i] - logits[i, ids[start + i + 1]]
        return {"nll": total / (len(ids) - 1)}


def serve():
    llama = Llama()
    asked = {
        "info": lambda a: llama.info(),
        "load": lambda a: llama.load(a["model"], a["threads"]),
        "prepare": lambda a: llama.prepare(a["case"]),
        "run": lambda a: {"seconds": llama.once(llama.case)},
        "score": lambda a: llama.score(a["ids"]),
        "close": lambda a: llama.close() or {},
    }
    for line in sys.stdin:
        ask = json.loads(line)
        try:
            answer = asked[ask["do"]](ask)
        except (RuntimeError, OSError) as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


def first(path, threads, tokens):
    import numpy

    llama = Llama()
    # What Python and its modules take is not llama.cpp's.
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    llama.load(path, threads)
    llama.open(1, tokens + 1, "on")
    llama.prompts(1, tokens)
    pointer = llama.c.llama_get_logits_ith(llama.context, -1)
    numpy.ctypeslib.as_array(pointer, shape=(llama.vocab,)).argmax()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "peak_bytes": (peak - base) * 1024}))


def child(command):
    start = time.perf_counter()
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    if ended.returncode != 0:
        sys.exit(f"{command[0]}: exit status {ended.returncode}")
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    out = json.loads(ended.stdout)
    print(json.dumps({"seconds": seconds, "peak_bytes": peak * 1024, "out": out}))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case ["first", path, threads, tokens]:
            first(path, int(threads), int(tokens))
        case ["child", *command] if command:
            child(command)
        case _:
            sys.exit(__doc__)
