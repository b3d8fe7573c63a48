"""The plan of a pull in one line, in a page, and as JSON."""

from collections.abc import Iterator

from sampan.cli.columns import format_columns
from sampan.cli.humanize import human_size
from sampan.cli.render import printable
from sampan.engines.preflight import PlannedLayer, PullPlan


def describe_plan(plan: PullPlan) -> str:
    """A pull in one line."""
    head = printable(f"{plan.reference.familiar} ({plan.remote.platform})")
    if plan.is_linked:
        return f"{head}: up to date"
    layers = plan.layers
    total = len(layers.found) + len(layers.missing)
    here = f", {human_size(layers.present_bytes)} are here" if layers.present_bytes else ""
    return (
        f"{head}: {len(layers.missing)} of {total} layers to fetch, "
        f"{human_size(layers.fetch_bytes)}{here}; the store has room for "
        f"{human_size(plan.room.usable_bytes)}"
    )


def describe_rehearsal(plan: PullPlan) -> str:
    """All that is known before the first layer, for people."""
    rows = [(f"{name}:" if name else "", value) for name, value in _facts(plan)]
    layers = [
        (f"  {layer.digest[7:19]}", human_size(layer.size), _layer_words(layer))
        for layer in plan.each
    ]
    return "\n".join([
        describe_plan(plan),
        *(f"{name:<14} {printable(value)}" for name, value in rows),
        format_columns(("  LAYER", "SIZE", "STATE"), layers),
    ])  # fmt: skip


def plan_document(plan: PullPlan) -> dict[str, object]:
    """All that is known before the first layer, for programs; docs/pull.md has the schema."""
    return {
        "reference": str(plan.reference),
        "digest": plan.remote.source.manifest_digest,
        "image": plan.digest,
        "platform": str(plan.remote.platform),
        "up_to_date": plan.is_linked,
        "fetch_bytes": plan.layers.fetch_bytes,
        "present_bytes": plan.layers.present_bytes,
        "needed_bytes": plan.layers.needed_bytes,
        "likely_bytes": plan.layers.likely_bytes,
        "layers": [layer._asdict() for layer in plan.each],
        "room": {
            "free_bytes": plan.room.free_bytes,
            "free_inodes": plan.room.free_inodes,
            "quotas": [quota._asdict() for quota in plan.room.quotas],
        },
        "cuda": plan.cuda,
        "requirements": plan.requirements,
        "driver": plan.host._asdict(),
        "base": plan.base._asdict(),
        "warnings": plan.warnings,
    }


def _facts(plan: PullPlan) -> Iterator[tuple[str, str]]:
    yield "image", plan.digest
    yield "manifest", plan.remote.source.manifest_digest
    if plan.layers.likely_bytes and not plan.is_linked:
        yield "on disk", f"about {human_size(plan.layers.likely_bytes)}, packs and image"
    room = plan.room
    inodes = "" if room.free_inodes is None else f", {room.free_inodes:,} inodes"
    yield "free", f"{human_size(room.free_bytes)}{inodes}"
    for quota in room.quotas:
        left = []
        if quota.free_bytes is not None:
            left.append(human_size(quota.free_bytes))
        if quota.free_inodes is not None:
            left.append(f"{quota.free_inodes:,} inodes")
        yield "quota", f"{' and '.join(left)} left to this {quota.kind}"
    if plan.cuda:
        yield "CUDA", plan.cuda
    for sentence in plan.requirements:
        yield "needs", sentence
    if plan.requirements:
        yield "this host", _host_words(plan)
    base = plan.base
    libc = f" ({base.libc})" if base.libc else ""
    yield "base", f"{base.name}{libc}" if base.name else "not known before the fetch"


def _host_words(plan: PullPlan) -> str:
    host = plan.host
    if host.fits is None:
        return "has no NVIDIA driver"
    cuda = f", CUDA {host.cuda}" if host.cuda else ""
    return f"driver {host.driver}{cuda}: {'fits' if host.fits else f'too old ({host.why_not})'}"


def _layer_words(layer: PlannedLayer) -> str:
    if not layer.found_by:
        return "to fetch"
    how = "" if layer.found_by == "digest" else ", by its diffID"
    shared = f", shared with {', '.join(layer.shared_with[:3])}" if layer.shared_with else ""
    return f"here{how}{shared}"
