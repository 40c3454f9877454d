"""Licences as the Hugging Face hub names them."""

from difflib import get_close_matches

from seg.config.track import Notify
from seg.errors import WrongUseError

_NAMES = """
afl-3.0 agpl-3.0 apache-2.0 apple-ascl apple-amlr artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0
cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0
cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0
cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2
fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0 grok2-community intel-research isc lgpl lgpl-2.1
lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1
open-mdw openrail openrail++ osl-3.0 other pddl postgresql unknown unlicense wtfpl zlib
"""
LICENCES = tuple(_NAMES.split())
"""Names that the hub takes for ``license`` (its documentation, "Licenses")."""


def check_licence(name: str, notify: Notify) -> None:
    """Warn of a licence that the hub does not know: its page would show none.

    Args:
        name: As it is to stand on a model's page.
        notify: Is told of it.

    Raises:
        WrongUseError: If it is no name at all, or that of the hub in other letters.
    """
    if not name.strip() or not name.isprintable() or len(name) > 100:
        raise WrongUseError("a licence is a name of at most 100 characters; mit and cc-by-4.0 are such")
    if name in LICENCES:
        return
    if (near := name.strip().lower().replace(" ", "-")) in LICENCES:
        raise WrongUseError(f"the hub writes the licence '{name}' as {near}; use --licence {near}")
    like = get_close_matches(near, LICENCES, n=1, cutoff=0.75)
    hint = f"; did you mean {like[0]}?" if like else "; those that it knows are named like mit, cc-by-4.0, apache-2.0"
    notify(f"The Hugging Face hub knows no licence '{name}'{hint}")
