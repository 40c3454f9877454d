"""``seg models``."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from seg.cli import console, options

if TYPE_CHECKING:
    from seg.pipeline.models import Known, Listing

_NAMED_MISFITS = 12
"""Misfits that are named one by one."""


def models(
    modality: Annotated[
        str | None,
        typer.Option(help="s1, s2, s1s2, rgb, s2-10m or s2-10m-20m.", show_default="s2; with --fusion dual s1s2"),
    ] = None,
    bands: Annotated[str | None, typer.Option(help="Bands by name instead: VV,VH,B02,B03,B04,B08.")] = None,
    arch: Annotated[str | None, typer.Option(help="This architecture, with the encoders that fit it.")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="This encoder, or those of a pattern such as 'tu-convnext*', in what they fit; 'fm-*': foundation "
            "models."
        ),
    ] = None,
    model: options.Model = None,
    fusion: Annotated[
        Literal["stack", "dual"], typer.Option(help="One encoder for all bands, or one for each sensor.")
    ] = "stack",
    every: Annotated[
        bool, typer.Option("--all", help="All encoders of smp and timm instead of a short list; takes minutes.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List what can be trained: architectures, encoders that fit, parameters and multiply-adds for a patch."""
    if modality and bands:
        raise typer.BadParameter("give either --modality or --bands, not both")
    if model and (arch or encoder or every):
        raise typer.BadParameter("give either --model or --arch, --encoder and --all, not both")
    selection = modality or bands or ("s1s2" if fusion == "dual" else "s2")
    from seg.pipeline.models import list_models

    listing = list_models(selection, model or arch, encoder, every, fusion, console.track)
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(listing), indent=2))
        return
    if listing.foundations:
        _show_foundations(listing.foundations)
        return
    _show(listing)


def _show_foundations(models: tuple["Known", ...]) -> None:
    from seg.reben.bands import MODALITIES, PATCH_SIZE, selection_name

    caption = (
        f"parameters in millions; MACs: multiply-adds in billions for a patch of {PATCH_SIZE} x {PATCH_SIZE} of all "
        "bands, without a decoder; weights: under which licence they are published"
    )
    table = Table(title="foundation models", caption=caption)
    table.add_column("encoder", no_wrap=True)
    table.add_column("params", justify="right", no_wrap=True)
    table.add_column("MACs", justify="right", no_wrap=True)
    table.add_column("weights", overflow="fold")
    table.add_column("from", no_wrap=True)
    for model in models:
        sizes = f"{model.parameters / 1e6:.1f}", f"{model.multiply_adds / 1e9:.1f}"
        table.add_row(model.encoder, *sizes, model.licence if model.weights else "none", model.package)
    console.out.print(table)
    for kind in dict.fromkeys((model.bands, model.whole, model.expects) for model in models):
        bands, whole, expects = kind
        names = [model.encoder for model in models if (model.bands, model.whole, model.expects) == kind]
        which = f"all of {'each sensor in ' if bands == MODALITIES['s1s2'] else ''}" if whole else "any of "
        console.wrapped(f"{', '.join(names)}: {which}{selection_name(bands)}; {expects}.")
    for reason in dict.fromkeys(model.reason for model in models if model.reason):
        names = [model.encoder for model in models if model.reason == reason]
        console.wrapped(f"Cannot be built here: {', '.join(names)}; {reason}.")


def _show(listing: "Listing") -> None:
    from seg.reben.bands import PATCH_SIZE, selection_name

    sensors = ", an encoder for each sensor" if listing.fusion == "dual" else ""
    title = f"networks on {selection_name(listing.bands)}{sensors}, a patch of {PATCH_SIZE} x {PATCH_SIZE}"
    caption = "parameters in millions, and those of them in the encoder; MACs: multiply-adds in billions"
    table = Table(title=title, caption=caption)
    table.add_column("architecture", no_wrap=True)
    # Its names are of any length; in a narrow terminal they go on in the next line, numbers and headings never do.
    table.add_column("encoder", overflow="fold")
    costs = [network.cost for network in listing.networks]
    columns = {
        "params": [f"{cost.parameters / 1e6:.2f}" for cost in costs],
        "in encoder": [f"{cost.encoder_parameters / 1e6:.2f}" for cost in costs],
        "MACs": [f"{cost.multiply_adds / 1e9:.3f}" for cost in costs],
    }
    for name, numbers in columns.items():
        table.add_column(name, justify="right", width=max(map(len, [*numbers, *name.split()])))
    for network, *numbers in zip(listing.networks, *columns.values(), strict=True):
        table.add_row(network.arch, network.encoder, *numbers)
    console.out.print(table)
    for takes in dict.fromkeys(listing.takes.values()):
        archs = [arch for arch, one in listing.takes.items() if one == takes]
        console.wrapped(f"{', '.join(archs)}: {takes}.")
    if listing.misfits:
        named = ", ".join(f"{encoder} in {arch}" for arch, encoder in listing.misfits[:_NAMED_MISFITS])
        more = len(listing.misfits) - _NAMED_MISFITS
        console.wrapped(f"Do not fit: {named}{f' and {more} more (--json names them)' if more > 0 else ''}.")
