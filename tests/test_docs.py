"""The pages in ``docs/``: they build without a warning, their code runs, and what they name is there.

A page runs from top to bottom in a folder of its own, in this process, so that torch is loaded once. What a reader does
not see is said in a comment before a block:

- ``given NAME, NAME``: things that the tutorial made are there, at the top of a page;
- ``A => B; C => D``: the block runs with these words replaced, so that it takes seconds;
- ``file NAME``: the block is a file that the reader saves;
- ``needs PACKAGE``: the block needs a package that seg does not; a test of its own runs it where that is installed,
  with those blocks of the page that need it too;
- ``tree FOLDER``: the block lists files that are in that folder;
- ``not run: REASON``: the block needs what is not here.

A block of text after commands shows what they print: the beginning of each of its lines, numbers aside, must be
printed.
"""

import importlib
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from fnmatch import fnmatch
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp

from seg.cli.main import app, main
from seg.engine.losses.pixel import PIXEL_LOSSES
from seg.models.architectures import ARCHITECTURES, Architecture
from seg.reben.bands import MODALITIES
from seg.report.tables import TABLES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
GENERATED = ("reference/commands/*", "reference/modules/*", "reference/python.md", "reference/settings.md")
PAGES = sorted(
    name
    for path in DOCS.rglob("*.md")
    if not any(fnmatch(name := path.relative_to(DOCS).as_posix(), pattern) for pattern in GENERATED)
)
TUTORIAL = "tutorial.md"
EXTENSIBLE = (PIXEL_LOSSES, MODALITIES, TABLES, ARCHITECTURES, smp.MODEL_ARCHITECTURES_MAPPING)
"""What the pages show how to add to."""
COMMANDS = {f"seg {one.name}" for one in app.registered_commands} | {
    f"seg {group.name} {one.name or one.callback.__name__}"
    for group in app.registered_groups
    for one in group.typer_instance.registered_commands
}
BLOCK = re.compile(r"(?:<!-- test: (?P<say>[^\n]*) -->\n)?^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S)
SHOWN_WORDS = 3
"""Words of a line of output that must be printed as they are shown."""


@dataclass(frozen=True)
class Block:
    """A block of a page: its language, what the comment before it says, its text and the line where it begins."""

    language: str
    say: str
    text: str
    line: int

    @property
    def need(self) -> str:
        """The package that it needs, if it needs one."""
        return found[1] if (found := re.search(r"(?:^|; )needs (\w+)(?:;|$)", self.say)) else ""

    @property
    def is_run(self) -> bool:
        return self.language in ("bash", "python") and not self.say.startswith("not run: ")

    @property
    def as_tested(self) -> str:
        text = self.text
        for one in self.say.split("; "):
            old, arrow, new = one.partition(" => ")
            if not arrow:
                continue
            assert old in text, f"line {self.line}: there is no '{old}' to replace"
            text = text.replace(old, new)
        return text


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    text = read(page)
    return [
        Block(found["language"], found["say"] or "", found["text"], text[: found.start("text")].count("\n"))
        for found in BLOCK.finditer(text)
    ]


def commands(text: str) -> list[list[str]]:
    return [shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def words(line: str) -> str:
    """The words of a line, without the lines of tables, with every number or undefined score as ``#``."""
    bare = re.sub(r"[\u2500-\u257f]", " ", line)
    return " ".join(re.sub(r"\d[\d,.]*|–", "#", bare).split())


class Walk:
    """A reader who does what a page says, in the current folder."""

    def __init__(self) -> None:
        self.printed = ""
        self.names: dict[str, object] = {"__name__": "__page__"}

    def do(self, block: Block) -> None:
        if block.language == "text":
            if block.say != "formulas" and not block.say.startswith("not run: "):
                self.look(block)
        elif named := re.search(r"(?:^|; )file (\S+)$", block.say):
            Path(named[1]).write_text(block.text, encoding="utf-8")
        elif block.is_run:
            heard = StringIO()
            try:
                with redirect_stdout(heard), redirect_stderr(heard):
                    if block.language == "python":
                        exec(compile(block.as_tested, f"<line {block.line}>", "exec"), self.names)
                    else:
                        for command in commands(block.as_tested):
                            self.call(command)
            except BaseException as error:
                error.add_note(f"in the block at line {block.line}, after:\n{heard.getvalue()[-2000:]}")
                raise
            self.printed = heard.getvalue()

    def call(self, command: list[str]) -> None:
        program, *arguments = command
        expanded = [
            name for one in arguments for name in (sorted(map(str, Path().glob(one))) if "*" in one else []) or [one]
        ]
        file = ""
        if program == "python":
            file, *expanded = expanded
        assert program in ("seg", "python"), f"{program} cannot be run here"
        before, sys.argv = sys.argv, [file or "seg", *expanded]
        code: object = 0
        try:
            runpy.run_path(file, run_name="__main__") if file else main()
        except SystemExit as stop:
            code = stop.code
        finally:
            sys.argv = before
        assert not code, f"{shlex.join(command)} ends with {code}"

    def look(self, block: Block) -> None:
        if block.say.startswith("tree "):
            listed = [line.split()[0] for line in block.text.splitlines()]
            folder = Path(block.say.removeprefix("tree "))
            assert [name for name in listed if not (folder / name).exists()] == []
            return
        printed = [words(line) for line in self.printed.splitlines()]
        for line in block.text.splitlines():
            start = " ".join(words(line).split()[:SHOWN_WORDS])
            if start and start != "...":
                shown = any(one.startswith(start) for one in printed)
                assert shown, f"line {block.line}: '{start}' was not printed, but:\n{self.printed[-4000:]}"


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """A fresh folder to read a page in; what a page adds to the program is gone afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        patch.setenv("COLUMNS", "100")
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.delenv("SEG_DATA", raising=False)
        for name in ("scripts", "configs"):
            (folder / name).symlink_to(ROOT / name)
        for dictionary in EXTENSIBLE:
            for key, value in dictionary.items():
                patch.setitem(dictionary, key, value)
        known = [set(dictionary) for dictionary in EXTENSIBLE]
        try:
            yield
        finally:
            for dictionary, keys in zip(EXTENSIBLE, known, strict=True):
                for key in set(dictionary) - keys:
                    del dictionary[key]
            sys.modules.pop("my_seg", None)


def follow(page: str, folder: Path, tutorial: Path | None = None, need: str = "") -> None:
    """Read a page and do what it says: the blocks that need this package, or those that need none beyond seg's."""
    with reading(folder), pytest.MonkeyPatch.context() as patch:
        if page != TUTORIAL and "--check" not in read(page):
            # The charts of an evaluation take longer than a tiny model; the tutorial has them.
            patch.setattr("seg.report.html.render_report", lambda *_: "")
        given = re.search(r"<!-- test: given (.*?) -->", read(page))
        for name in given[1].split(", ") if given else ():
            assert tutorial is not None
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copytree(tutorial / name, folder / name)
        walk = Walk()
        for block in blocks(page):
            if block.need == need:
                walk.do(block)


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the tutorial was followed."""
    folder = tmp_path_factory.mktemp("tutorial")
    follow(TUTORIAL, folder)
    return folder


def test_the_tutorial_leads_to_a_map(tutorial: Path):
    import rasterio

    with rasterio.open(tutorial / "map.tif") as dataset:
        assert set(dataset.read(1).ravel().tolist()) - {255} <= set(range(19))
        assert dataset.tags()["SYNTHETIC"] == "YES"
    for name in ("map_areas.md", "map.png", "runs/unet-s2/eval/test/report.html", "unet-s2-synthetic/README.md"):
        assert (tutorial / name).is_file(), name


@pytest.mark.parametrize("page", [page for page in PAGES if page != TUTORIAL])
def test_the_code_of_a_page_runs(page: str, tutorial: Path, tmp_path: Path):
    follow(page, tmp_path, tutorial)


NEEDED = sorted({(page, block.need) for page in PAGES for block in blocks(page) if block.need})


@pytest.mark.parametrize(("page", "package"), NEEDED)
def test_the_code_of_a_page_that_needs_a_package_runs(page: str, package: str, tutorial: Path, tmp_path: Path):
    pytest.importorskip(package, reason=f"{package} is not installed, so these blocks of {page} were not run")
    follow(page, tmp_path, tutorial, package)


def test_what_pages_add_is_gone_again(tmp_path: Path):
    before = [dict(dictionary) for dictionary in EXTENSIBLE]
    with reading(tmp_path):
        PIXEL_LOSSES["mine"] = PIXEL_LOSSES["dice"]
        ARCHITECTURES["unet"] = Architecture(cells=3)
    assert [dict(dictionary) for dictionary in EXTENSIBLE] == before


def test_a_command_that_fails_and_output_that_is_not_printed_are_noticed(tmp_path: Path):
    with reading(tmp_path):
        walk = Walk()
        with pytest.raises(AssertionError, match="ends with 2"):
            walk.do(Block("bash", "", "seg report nowhere\n", 1))
        walk.do(Block("bash", "", "seg --version\n", 1))
        walk.do(Block("text", "", "seg 9.9.9\n...\n", 1))
        with pytest.raises(AssertionError, match="was not printed"):
            walk.do(Block("text", "", "nothing of it\n", 1))
        with pytest.raises(AssertionError, match="to replace"):
            walk.do(Block("bash", "--a => --b", "seg --version\n", 1))


def test_blocks_that_are_not_run_say_why():
    for page in PAGES:
        text = read(page)
        assert text.count("<!-- test: ") == len(re.findall(r"<!-- test: given ", text)) + sum(
            bool(block.say) for block in blocks(page)
        ), f"{page}: a comment stands before no block"
        for block in blocks(page):
            known = ("bash", "python", "text", "{toctree}", "{eval-rst}")
            saved = block.language == "yaml" and block.say.startswith("file ")
            assert block.language in known or saved, (page, block.line)
            assert block.say != "not run:", (page, block.line)


PATHS = re.compile(r"`((?:seg|scripts|configs|tests|results|docs)/[\w./-]+\.\w+)`")


def named_paths() -> list[tuple[str, str]]:
    found = [(page, path) for page in PAGES for path in PATHS.findall(read(page))]
    for page in PAGES:
        for block in blocks(page):
            found += [(page, path) for path in re.findall(r"(?:scripts|configs)/[\w-]+\.\w+", block.text)]
    return found


@pytest.mark.parametrize(("page", "path"), sorted(set(named_paths())))
def test_files_that_pages_name_are_there(page: str, path: str):
    assert (ROOT / path).is_file()


IN_MODULE = re.compile(r"`(\w+)`(?: and `(\w+)`)?(?: of|\s+in)\s+`seg/([\w/]+)\.py`")


def test_names_that_pages_place_in_a_module_are_there():
    found = [
        (page, name, module.replace("/", "."))
        for page in PAGES
        for first, second, module in IN_MODULE.findall(read(page))
        for name in (first, second)
        if name
    ]
    assert {name for _, name, _ in found} >= {"PIXEL_LOSSES", "SCENE_LOSSES", "MODALITIES", "TABLES", "LossConfig"}
    for page, name, module in found:
        assert hasattr(importlib.import_module(f"seg.{module}"), name), (page, name, module)


@pytest.fixture(scope="module")
def generators() -> Iterator[object]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        yield importlib.import_module("generators.commands")


def test_options_that_pages_give_exist_also_where_they_are_not_run(generators):
    known = {
        command.path: {
            name for one in generators.parameters(command.function) for name in one.names if not one.argument
        }
        for command in generators.commands()
    }
    checked = 0
    for page in PAGES:
        for block in blocks(page):
            for command in commands(block.text) if block.language == "bash" else ():
                line = shlex.join(command)
                called = re.search(r"(?:^|-m )seg ((?:data )?[a-z]+)|(?:my_seg\.py|train_slurm\.sh) ", f"{line} ")
                if not called or (called[1] and f"seg {called[1]}" not in COMMANDS):
                    continue
                name = f"seg {called[1] or ('train' if 'train' in line else command[2])}"
                options = {word.partition("=")[0] for word in shlex.split(line[called.end() :]) if word[:2] == "--"}
                assert options <= known[name], (page, block.line, options - known[name])
                checked += 1
    assert checked > 30


class Addresses(HTMLParser):
    """What a page loads, and where it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.anchors: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        loads = given.get("src") or (given.get("href") if tag == "link" else None)
        self.loaded += [loads] if loads else []
        self.anchors += [given["href"] or ""] if tag == "a" and "href" in given else []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as they are read, built as strictly as can be; ``.ci/run`` does so with all packages."""
    from sphinx.cmd.build import build_main

    out = tmp_path_factory.mktemp("site")
    source = shutil.copytree(DOCS, tmp_path_factory.mktemp("source") / "docs", ignore=shutil.ignore_patterns("_build"))
    for name in ("README.md", "pyproject.toml"):
        (source.parent / name).symlink_to(ROOT / name)
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        options = ["-W", "--keep-going", "-q", "-b", "html", "-D", "packages=reben,metrics", "-d", str(out / "trees")]
        code = build_main([*options, str(source), str(out)])
    assert code == 0, said.getvalue()
    return out


def test_the_pages_build_without_a_warning(site: Path):
    for page in PAGES:
        assert (site / page).with_suffix(".html").is_file(), page


def test_every_package_is_in_the_reference(generators):
    packages = {path.parent.name for path in (ROOT / "seg").glob("*/__init__.py")}
    assert set(importlib.import_module("generators.modules").PACKAGES) == packages - {"cli"}


def test_pages_load_nothing_from_elsewhere(site: Path):
    for path in site.rglob("*.html"):
        addresses = Addresses()
        addresses.feed(path.read_text(encoding="utf-8"))
        elsewhere = [one for one in addresses.loaded if re.match(r"(https?:)?//", one)]
        assert elsewhere == [], path


def test_links_between_pages_lead_somewhere(site: Path):
    ids = {path: set(re.findall(r'\bid="([^"]+)"', path.read_text(encoding="utf-8"))) for path in site.rglob("*.html")}
    for path, own in ids.items():
        addresses = Addresses()
        addresses.feed(path.read_text(encoding="utf-8"))
        for link in addresses.anchors:
            target, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link) or link == "#":
                continue
            file = (path.parent / target).resolve() if target else path
            assert file.is_file(), (path.name, link)
            assert not anchor or file.suffix != ".html" or anchor in ids.get(file, own), (path.name, link)


def test_every_command_and_option_of_the_help_is_in_the_reference(site: Path, monkeypatch: pytest.MonkeyPatch):
    import typer
    from typer.testing import CliRunner

    monkeypatch.setenv("COLUMNS", "200")
    runner = CliRunner()

    def options(*command: str) -> set[str]:
        result = runner.invoke(app, [*command, "--help"])
        assert result.exit_code == 0
        return set(
            re.findall(r"(?<![\w-])--[a-z][\w-]*", re.sub(r"\x1b\[[\d;]*m", "", result.output).partition("Options")[2])
        )

    root = typer.main.get_command(app)
    for name, command in root.commands.items():
        page = (site / "reference" / "commands" / f"{name}.html").read_text(encoding="utf-8")
        for path in [(name, inner) for inner in getattr(command, "commands", ())] or [(name,)]:
            assert f"seg {' '.join(path)}" in page
            known = options(*path) - {"--help"}
            shown = set(re.findall(r">(--[a-z][\w-]*)<", page))
            assert known <= shown, (path, known - shown)


def test_every_setting_and_every_public_name_is_in_the_reference(site: Path):
    import seg
    from seg.config.sections import Config

    settings = (site / "reference" / "settings.html").read_text(encoding="utf-8")
    for section, value in Config().model_dump().items():
        for key in value:
            assert f"{section}.{key}<" in settings
    python = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in seg.__all__:
        assert f'id="seg.{name}"' in python
