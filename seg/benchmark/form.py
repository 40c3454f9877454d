"""The answers of an entry: what only its authors can state, as a YAML form that is written, filled in and checked."""

import re
import textwrap
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from seg.benchmark.protocol import PROTOCOL, Budget, EntryTrack, Inputs, Pretraining
from seg.config.wording import clipped
from seg.config.yaml_text import YamlTextError, dump, parse
from seg.errors import SubmissionError

NONE = "none"
SPDX = {
    "apache-2.0": "Apache-2.0",
    "bsd-3-clause": "BSD-3-Clause",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "cc0-1.0": "CC0-1.0",
    "cdla-permissive-1.0": "CDLA-Permissive-1.0",
    "cdla-permissive-2.0": "CDLA-Permissive-2.0",
    "mit": "MIT",
}
"""Licences under which evidence may be handed on, as the Hugging Face hub and as SPDX names them."""
_WIDTH = 100


def _plain(text: str) -> str:
    if not text.strip() or text != text.strip():
        raise ValueError("is empty, or begins or ends with a space")
    if not all(letter.isprintable() for letter in text):
        raise ValueError("holds characters that cannot be printed")
    if _UNSEEN & set(text) or _MARKS.search("".join(map(_kind, text))):
        raise ValueError("holds characters that cannot be seen, or piles of accents")
    return text


def _kind(letter: str) -> str:
    return unicodedata.category(letter)[0]


_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters that have no shape, though they count as printable."""
_MARKS = re.compile("M{4}")
"""More marks on one letter than any writing has."""


def _address(text: str) -> str:
    if text != NONE and not re.fullmatch(r"https://[\w.-]+(/[\w./~%+:=#?&,@-]*)?", text):
        raise ValueError("is no address that begins with https://, nor 'none'")
    return text


def _number(value: Any) -> Any:
    """YAML reads true as a number too, and a reader does not."""
    if isinstance(value, bool | str):
        raise ValueError("is no number")
    return value


Words = Annotated[str, Field(max_length=80), AfterValidator(_plain)]
Sentence = Annotated[str, Field(max_length=400), AfterValidator(_plain)]
Whole = Annotated[int, BeforeValidator(_number), Field(ge=0, le=10**15)]
Number = Annotated[float, BeforeValidator(_number), Field(ge=0, le=1e15, allow_inf_nan=False)]
Licence = Literal[
    "apache-2.0",
    "bsd-3-clause",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "cdla-permissive-1.0",
    "cdla-permissive-2.0",
    "mit",
]


class Answers(BaseModel):
    """What an entry states; clause 6 of the protocol says what each line means."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    protocol: Annotated[Literal[1], Field(description="Version of the protocol, docs/protocol.md.")]
    name: Annotated[Words, Field(description="Name of the entry in tables.")]
    summary: Annotated[Sentence, Field(description="The method in a sentence.")]
    authors: Annotated[
        list[Words], Field(min_length=1, max_length=100, description="Who is to be cited, a line each: - Name")
    ]
    url: Annotated[
        str, AfterValidator(_address), Field(max_length=300, description="Paper or code, https://; or none.")
    ]
    licence: Annotated[Licence, Field(description=f"Licence of the evidence: {', '.join(SPDX)}.")]
    inputs: Annotated[
        Inputs, Field(description="Track: what the method sees. s1, s2, s1s2 (bands of reBEN), or any (anything more).")
    ]
    pretraining: Annotated[
        Pretraining, Field(description="Track: scratch (random weights) or pretrained (anything else).")
    ]
    labels_percent: Annotated[
        Budget, Field(description="Track: percent of the train split whose labels were used. 1, 10 or 100.")
    ]
    pretraining_data: Annotated[
        Sentence, Field(description="What the weights were pretrained on, data and method; none from scratch.")
    ]
    other_data: Annotated[
        Sentence,
        Field(description="Images or labels used beside reBEN's train and validation splits and pretraining; or none."),
    ]
    selection: Annotated[
        Literal["validation", "none"],
        Field(
            description="What epoch, settings and thresholds were chosen on: validation, or none (nothing was chosen)."
        ),
    ]
    test_unseen: Annotated[
        Literal[True],
        Field(description="true: labels and maps of the test split were used for nothing but the final scores."),
    ]
    trials: Annotated[
        Whole, Field(ge=1, description="Settings of hyper-parameters that were tried to get here, this one included.")
    ]
    deterministic: Annotated[
        bool,
        Field(description="true: the method draws no random numbers, and is scored once; false: three seeds or more."),
    ]
    encoder: Annotated[
        Literal["trained", "frozen", "none"],
        Field(description="Whether the encoder was trained, or frozen; none: it has none."),
    ]
    augmentation: Annotated[Sentence, Field(description="Augmentation of the training; or none.")]
    test_time: Annotated[
        Sentence, Field(description="What is done at test time: augmentation, ensembles, post-processing; or none.")
    ]
    parameters: Annotated[Whole, Field(description="Learned values of what predicts.")]
    multiply_adds: Annotated[Number, Field(description="10^9 multiply-adds to predict a patch.")]
    patches_seen: Annotated[
        Whole, Field(description="Training patches that a training has seen, repeats counted; mean over seeds.")
    ]
    hours: Annotated[Number, Field(description="Device hours of a training; mean over seeds.")]
    device: Annotated[Words, Field(description="The device, such as NVIDIA H200.")]
    energy_kwh: Annotated[
        Number | None, Field(description="Energy of a training, kWh, mean over seeds; null where it was not measured.")
    ]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.pretraining == "scratch") != (self.pretraining_data == NONE):
            raise ValueError(
                "pretraining_data is none where pretraining is scratch, and says what it was where it is not"
            )
        return self

    @property
    def track(self) -> EntryTrack:
        """The track that it is entered in."""
        return EntryTrack(self.inputs, self.pretraining, self.labels_percent)


MAY_BE_NULL = {"energy_kwh"}
Known = Mapping[str, Any]
"""Answers by name, as far as they are known."""


def form_text(known: Known) -> tuple[str, list[str]]:
    """The form, with what is known filled in.

    Returns:
        Its YAML; and of the lines that are left to be answered, number and name: ``12 (trials)``.
    """
    lines = [f"# Answers of an entry to the benchmark, protocol {PROTOCOL}: docs/protocol.md, clause 6."]
    left = []
    for name, field in Answers.model_fields.items():
        lines += [f"# {part}" for part in textwrap.wrap(field.description or "", _WIDTH, break_on_hyphens=False)]
        value = known.get(name)
        answer = f"{name}:" if value is None and name not in MAY_BE_NULL else dump({name: value}).rstrip("\n")
        if answer == f"{name}:":
            left.append(f"{len(lines) + 1} ({name})")
        lines += [*answer.split("\n"), ""]
    return "\n".join(lines), left


def read_answers(text: str, source: str) -> Answers:
    """The answers of a form.

    Args:
        text: Its YAML.
        source: Name of the file, for messages.

    Raises:
        SubmissionError: Naming the line that lacks or is wrong.
    """
    try:
        tree = parse(text)
    except YamlTextError as error:
        raise SubmissionError(f"{source} {error}") from None
    if not isinstance(tree, dict):
        raise SubmissionError(f"{source} holds no answers; 'seg submit' without --answers writes the form")
    missing = [name for name in Answers.model_fields if tree.get(name) is None and name not in MAY_BE_NULL]
    missing += [name for name in MAY_BE_NULL if name not in tree]
    if missing:
        named = ", ".join(f"line {n} ({name})" if (n := _line(text, name)) else f"no line {name}" for name in missing)
        raise SubmissionError(f"{source} is not answered in full: {named}")
    try:
        return Answers.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        what = (
            first["msg"]
            .removeprefix("Value error, ")
            .replace("Input should", "should")
            .replace("List should", "should")
            .replace("String should", "should")
        )
        if first["type"] == "extra_forbidden":
            what = "is no line of the form"
        if first["type"] == "list_type":
            what = "is a list: below it, a line for each, such as - Jane Doe"
        if name == "test_unseen":
            what = "should be true: an entry whose test split was used for more than the final scores is none"
        where = f", line {line}" if (line := _line(text, name)) else ""
        raise SubmissionError(f"{source}{where}: {clipped(name)} {clipped(what, 200)}".replace(":  ", ": ")) from None


def _line(text: str, name: str) -> int | None:
    """The number of the line that begins with a name."""
    lines = enumerate(text.splitlines(), 1)
    return next(
        (number for number, line in lines if name and re.match(rf"[\"']?{re.escape(name)}[\"']?\s*:", line)), None
    )
