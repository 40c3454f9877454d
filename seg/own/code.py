"""Networks of one's own as code: which file, known by its hash, and whether this machine may run it. Without torch.

A checkpoint brings the file that builds its network, and may come from anybody. So code is run only if the user has
named its file on this machine, or one with the same content: that is noted by its hash, where caches lie.
"""

import ast
import hashlib
import re
import shlex
import symtable
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import decode_source
from pathlib import Path
from types import CodeType

from seg.config.sections import ModelConfig
from seg.config.terms import NO_ENCODER
from seg.config.wording import clipped
from seg.errors import CheckpointError, ModelError
from seg.store.atomic import read_folder, write_text
from seg.store.cache import cache_folder

CODE_FILE = "network.py"
"""What builds the network, beside the weights of a checkpoint."""
ARCHITECTURE_GROUP, ENCODER_GROUP = "seg.architectures", "seg.encoders"
"""Entry points by which packages register networks, and encoders in the form in which smp keeps its own."""

_IN_FILE = re.compile(r"(?P<file>.*\.py):(?P<name>[A-Za-z_]\w*)", re.DOTALL)
_TRUSTED = "trusted"
_AT_RUN_TIME = frozenset({"__dict__", "__getattr__", "eval", "exec", "globals", "locals", "modules", "setattr", "vars"})
"""What code can make names by that do not stand in it."""


@cache
def registered(group: str) -> dict[str, EntryPoint]:
    """What installed packages register, by name; nothing of it is loaded."""
    return {entry.name: entry for entry in entry_points(group=group)}


def is_in_file(arch: str) -> bool:
    """Whether an architecture is named as ``FILE.py:NAME``."""
    return _IN_FILE.fullmatch(arch) is not None


@dataclass(frozen=True, slots=True)
class Code:
    """A file that builds a network.

    Attributes:
        path: Where it was read.
        name: What in it is called.
        content: All of it.
    """

    path: Path
    name: str
    content: bytes

    @property
    def sha256(self) -> str:
        """The hash of the file, in hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def named(self) -> str:
        """``FILE.py:NAME``, as it is typed."""
        return f"{self.path}:{self.name}"


def code_of(config: ModelConfig) -> Code:
    """The code of a network that is named as ``FILE.py:NAME``.

    Args:
        config: Which; without a `ModelConfig.code_folder` the path is from the current folder.

    Raises:
        ModelError: If there is no such file, or it has another hash than the settings say.
    """
    found = _IN_FILE.fullmatch(config.arch)
    assert found is not None, "another architecture"
    path = Path(config.code_folder or "", found["file"]).expanduser()
    try:
        # No links are followed: the hub's cache keeps files under names that are no names of files of Python.
        code = Code(path.absolute(), found["name"], path.read_bytes())
    except OSError as error:
        raise ModelError(
            f"{clipped(str(path))} cannot be read ({error.strerror}); name a network as --model FILE.py:NAME"
        ) from None
    if config.code not in (None, code.sha256):
        raise ModelError(
            f"{code.path} is another file than the settings name: its SHA-256 begins with {code.sha256[:12]}, and "
            f"model.code with {str(config.code)[:12]}; name the file anew with --model {shlex.quote(code.named)}"
        )
    return code


def compiled(code: Code) -> CodeType:
    """What is run of a file.

    Raises:
        ModelError: If it is no Python.
    """
    try:
        return compile(code.content, str(code.path), "exec", dont_inherit=True)
    except SyntaxError as error:
        why = f"{error.msg} (line {error.lineno})" if error.lineno else error.msg
    # Of bytes that are no text.
    except ValueError as error:
        why = str(error)
    raise ModelError(f"{code.path} is no Python: {why}; mend it")


def require_name(code: Code) -> None:
    """Refuse a file that cannot have what is to be called, as far as its text tells; nothing of it is run.

    Raises:
        ModelError: If it is no Python, or nothing in it is called so, nor could be when it is run.
    """
    with warnings.catch_warnings():
        # They are shown when it is run.
        warnings.simplefilter("ignore")
        compiled(code)
        tree = ast.parse(code.content, str(code.path))
        table = symtable.symtable(decode_source(code.content), str(code.path), "exec")
    if any(map(_makes_names, ast.walk(tree))) or code.name in _bound_names(table):
        return
    known = [one.get_name() for one in table.get_symbols() if one.is_namespace()]
    raise no_such_name(code, known or [one.get_name() for one in table.get_symbols() if one.is_assigned()])


def no_such_name(code: Code, known: Iterable[str]) -> ModelError:
    """The error for a name that nothing in a file has, by those that may have been meant."""
    listed = ", ".join(known)
    there = f"it has {clipped(listed)}" if listed else "it has nothing that can be called"
    return ModelError(f"{code.path} has no '{code.name}' that can be called; {there}")


def _makes_names(node: ast.AST) -> bool:
    """Whether a part of some code may bind names that do not stand in it."""
    if isinstance(node, ast.ImportFrom):
        return any(one.name == "*" for one in node.names)
    called = {ast.Name: "id", ast.Attribute: "attr", ast.FunctionDef: "name"}.get(type(node))
    return called is not None and getattr(node, called) in _AT_RUN_TIME


def _bound_names(table: symtable.SymbolTable) -> Iterator[str]:
    """Names of a module that are bound in it, in functions too that say that they are the module's."""
    whole = table.get_type() == "module"
    for one in table.get_symbols():
        if (whole or one.is_declared_global()) and (one.is_assigned() or one.is_imported()):
            yield one.get_name()
    for child in table.get_children():
        yield from _bound_names(child)


def code_beside(checkpoint: Path, arch: str, sha256: str) -> Code:
    """The code that lies in a checkpoint.

    Raises:
        CheckpointError: If it is not there, or is another one than the card names.
    """
    try:
        content = read_folder(checkpoint, lambda place: (place / CODE_FILE).read_bytes())
    except OSError:
        raise CheckpointError(
            f"{checkpoint} has no {CODE_FILE}, which builds its network {arch}; copy the checkpoint again"
        ) from None
    code = Code(checkpoint.absolute() / CODE_FILE, arch.rpartition(":")[2], content)
    if code.sha256 != sha256:
        raise CheckpointError(
            f"{checkpoint / CODE_FILE} is not the code that its card names, which has the SHA-256 {sha256[:12]}...; "
            "nothing of it was run; copy the checkpoint again"
        )
    return code


def settled(config: ModelConfig) -> ModelConfig:
    """The configuration with what it leaves open of a network of one's own; any other stays as it is.

    Its file is named by hash and folder, and there is no encoder. A file that is settled is not looked at again.

    Raises:
        ModelError: If there is no such file.
    """
    if config.arch in registered(ARCHITECTURE_GROUP):
        return config.model_copy(update={"encoder": NO_ENCODER})
    found = _IN_FILE.fullmatch(config.arch)
    if found is None or (config.code and config.encoder == NO_ENCODER and Path(found["file"]).name == found["file"]):
        return config
    code = code_of(config.model_copy(update={"code": None}))
    update = {"arch": f"{code.path.name}:{code.name}", "code": code.sha256, "code_folder": code.path.parent}
    return config.model_copy(update=update | {"encoder": NO_ENCODER})


def check_own(config: ModelConfig) -> None:
    """Refuse for a network of one's own what only those have that seg puts together.

    Raises:
        ModelError: Naming the setting.
    """
    idle = {
        "model.fusion": config.fusion == "dual",
        "model.drop_path": config.drop_path is not None,
        "model.encoder_dropout": config.encoder_dropout is not None,
        "model.weights_bands": config.weights_bands is not None,
    }
    if given := [name for name, is_given in idle.items() if is_given]:
        raise ModelError(
            f"{config.arch} is a network of one's own, which {given[0]} has no effect on; leave it out, and build the "
            "network as you want it"
        )
    if config.weights is not None and not Path(config.weights).is_dir():
        raise ModelError(
            f"{config.arch} is a network of one's own, which starts from what its code loads or from an earlier run of "
            f"it; --weights {clipped(config.weights)} is no folder of a run, so leave it out"
        )


def trust(code: Code) -> None:
    """Note that the user has named the code, so that this machine may run it from now on.

    Raises:
        OSError: If that cannot be written.
    """
    note = _note(code)
    if not note.is_file():
        note.parent.mkdir(parents=True, exist_ok=True)
        write_text(note, f"{code.named}\n")


def running(path: Path, sha256: str) -> str:
    """What the user is told of code that is run."""
    return f"The network is built by the code in {path} (SHA-256 {sha256[:12]}...)."


def require_trusted(code: Code) -> None:
    """Refuse code that nobody has named on this machine.

    Raises:
        CheckpointError: With what to do.
    """
    if not _note(code).is_file():
        raise CheckpointError(
            f"{code.path} builds the network, and nobody has named this code on this machine yet, so it was not run; "
            f"read it, and if you trust it, say so once with: seg models --model {shlex.quote(code.named)}",
            wrong_use=True,
        )


def _note(code: Code) -> Path:
    return cache_folder() / _TRUSTED / code.sha256
