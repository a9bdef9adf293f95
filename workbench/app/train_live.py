"""A run as it stands: state, curves, samples, verdict, and what it can be asked for."""

import html
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.components.plot import PlotData

from workbench.app.desk import AT_ONCE, QUIETLY, Desk, Options, file_link, saying
from workbench.app.train_samples import matrix
from workbench.app.words import label, text
from workbench.evaluation import curves
from workbench.evaluation.page import duration
from workbench.records.control import Control, Request
from workbench.records.events import (
    Preparing,
    Progress,
    Proved,
    Reported,
    Sampled,
    Validated,
    Warned,
)
from workbench.workspace.folders import Workspace
from workbench.workspace.meter import cost
from workbench.workspace.overview import Standing, overview
from workbench.workspace.queue import cancel, jobs
from workbench.workspace.readings import readings
from workbench.workspace.views import View, view

NUM_PLOTS = 4
GROUPS: dict[str, tuple[str, ...]] = {
    "learning": ("stable_loss", "loss"),
    "timesteps": ("timesteps", "recent_timesteps"),
    "rates": ("rates", "gradient_norm", "d", "d*lr"),
    "weights": ("weight_change", "weight_change_by_step", "ema_lag"),
}
# What may be asked of a run in each state.
ASKABLE: dict[str, tuple[str, ...]] = {
    "running": ("pause", "stop", "save-now", "sample-now"),
    "paused": ("continue", "stop", "save-now", "sample-now"),
    "starting": ("stop",),
    "queued": ("stop",),
}
ASKS = ("pause", "continue", "stop", "save-now", "sample-now")


def build(desk: Desk) -> None:
    """Make the right side.

    Args:
        desk: what all tabs share.
    """
    head = gr.HTML(elem_id="run-head")
    with gr.Row(elem_id="asks"):
        asks = {
            name: gr.Button(
                label(f"train_{name.replace('-', '_')}"), size="sm", interactive=False,
                min_width=110, elem_id=f"ask-{name}",
            )
            for name in ASKS
        }  # fmt: skip
    verdict = gr.HTML(elem_id="verdict")
    groups = [(label(f"train_group_{name}"), name) for name in GROUPS]
    group = gr.Radio(groups, value="learning", show_label=False, container=False, elem_id="group")
    with gr.Row():
        plots = [gr.Plot(show_label=False, visible=False, min_width=320) for _ in range(NUM_PLOTS)]
    samples = gr.HTML(elem_id="samples")
    warnings = gr.HTML(elem_id="warnings")
    shown = gr.State({})  # what this page has been sent: only what differs is sent again
    look = _looking(desk)
    outputs = [head, *asks.values(), verdict, *plots, samples, warnings, shown]
    inputs = [desk.run, group, shown]
    looks = [desk.tick.tick, desk.moved.change, desk.run.change, group.change]
    gr.on(looks, look, inputs, outputs, trigger_mode="always_last", **AT_ONCE)
    for name, button in asks.items():
        button.click(
            saying(_asking(desk.workspace, name)), desk.run, None, api_visibility="private"
        ).then(look, inputs, outputs, **QUIETLY)


def _looking(desk: Desk) -> Callable[[str, str, dict[str, Any]], list[Any]]:
    def look(run: str, group: str, shown: dict[str, Any]) -> list[Any]:
        """All that the page shows of a run; what it has already is skipped."""
        now = _everything(desk, run, group)
        sent = [gr.skip() if shown.get(name) == key else make() for name, (key, make) in now]
        new = {name: key for name, (key, _) in now}
        return [*sent, gr.skip() if new == shown else new]

    return look


Part = tuple[Any, Callable[[], Any]]  # what it is made from, and how it is made


def _everything(desk: Desk, run: str, group: str) -> list[tuple[str, Part]]:
    """Each component's key, which changes with what it shows, and its value, in their order."""
    if not run:
        empty = f'<div class="empty"><b>{text("train_empty")}</b>{text("train_empty_info")}</div>'
        parts: dict[str, Part] = {"head": (("", empty), lambda: empty)}
        parts |= {name: (False, lambda: gr.Button(interactive=False)) for name in ASKS}
        parts |= {name: ("", lambda: "") for name in ("verdict", "samples", "warnings")}
        parts |= {f"plot{k}": ("", lambda: gr.Plot(visible=False)) for k in range(NUM_PLOTS)}
        return _ordered(parts)
    folder = desk.workspace.inside("runs", run)
    now = next((one for one in overview(desk.workspace) if one.name == run), None)
    if now is None:
        return _everything(desk, "", group)
    seen = view(folder)
    seen.refresh()
    top = _head(desk, now, seen)
    parts = {"head": (top, lambda: top)}
    for name in ASKS:
        able = name in ASKABLE.get(now.state, ())
        parts[name] = (able, lambda able=able: gr.Button(interactive=able))
    said = _verdict(now, seen, run)
    parts["verdict"] = (said, lambda: said)
    parts |= _plots(seen, group)
    drawn = seen.latest.get(Sampled)
    key = (run, drawn.seq if drawn else 0)
    parts["samples"] = (key, lambda: matrix(desk.workspace, run, seen))
    warned = (run, sum(isinstance(event, Warned) for event in seen.events))
    parts["warnings"] = (warned, lambda: _warnings(seen))
    return _ordered(parts)


def _ordered(parts: dict[str, Part]) -> list[tuple[str, Part]]:
    plots = [f"plot{k}" for k in range(NUM_PLOTS)]
    return [(n, parts[n]) for n in ("head", *ASKS, "verdict", *plots, "samples", "warnings")]


def _plots(seen: View, group: str) -> dict[str, Part]:
    there = [name for name in curves.names(seen.events) if name in GROUPS[group]]
    if group == "rates":  # and whatever else an optimizer tells of itself
        there += [
            name for name in curves.names(seen.events) if name not in sum(GROUPS.values(), ())
        ]
    parts: dict[str, Part] = {}
    for k in range(NUM_PLOTS):
        name = there[k] if k < len(there) else ""
        key = (str(seen.folder), name, seen.version(name)) if name else ""
        parts[f"plot{k}"] = (key, lambda name=name: _plot(seen, name))
    return parts


def _plot(seen: View, name: str) -> Any:
    if not name:
        return gr.Plot(visible=False)
    return gr.Plot(PlotData(type="plotly", plot=seen.figure(name)), visible=True)  # type: ignore[arg-type]


def pill(state: str) -> str:
    """A run's state as a coloured word.

    Args:
        state: of `workspace.overview`.
    Returns:
        HTML.
    """
    return f'<span class="pill {state}">{text(f"train_state_{state}")}</span>'


def money(now: Standing, options: Options) -> list[str]:
    """What a run has cost and will cost, and how long it still takes.

    Args:
        now: the run.
        options: price and currency; without a price no cost is shown.
    Returns:
        Pieces of HTML.
    """
    seen = view(now.summary.folder)
    seen.refresh()
    step = seen.latest.get(Progress)
    parts = []
    if now.state == "running" and isinstance(step, Progress) and step.eta_s is not None:
        parts.append(f"<span>{text('page_left', time=duration(step.eta_s))}</span>")
    if options.price_per_hour:
        spent, sign = cost(seen.events, options.price_per_hour), html.escape(options.currency)
        expected = f" / {sign}{spent.expected:.2f}" if spent.expected is not None else ""
        parts.append(f"<span>{sign}{spent.so_far:.2f}{expected}</span>")
    return parts


def _head(desk: Desk, now: Standing, seen: View) -> str:
    """State, name and the figures that matter while it works."""
    step = seen.latest.get(Progress)
    facts = {text("train_step"): f"{now.summary.step:,} / {now.summary.total_steps or '?'}"}
    stage = seen.latest.get(Preparing)
    if isinstance(stage, Preparing) and stage.seq == seen.seq:  # nothing has come after it
        facts[text("train_stage")] = f"{stage.stage}, {stage.done} / {stage.total}"
    if isinstance(step, Progress):
        facts[text("train_loss")] = f"{step.loss:.4f}"
        if now.state == "running":
            facts[text("train_speed")] = text("train_images", rate=f"{step.images_per_s:.1f}")
            if step.eta_s is not None:
                facts[text("train_left")] = duration(step.eta_s)
    if desk.options.price_per_hour:
        spent = cost(seen.events, desk.options.price_per_hour)
        expected = "" if spent.expected is None else f" / {spent.expected:.2f}"
        facts[text("train_cost")] = f"{desk.options.currency}{spent.so_far:.2f}{expected}"
    if now.state in ("running", "paused"):
        facts |= _machine()
    shown = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in facts.items()
    )
    position = (
        f" <span>{text('train_position', position=now.position)}</span>" if now.position else ""
    )
    cause = f'<div class="finding {_tone(now)}">{html.escape(now.cause)}</div>' if now.cause else ""
    return (
        f'<div class="run-title">{pill(now.state)} <b>{html.escape(now.name)}</b>{position}</div>'
        f'{cause}<dl class="facts">{shown}</dl>'
    )


def _tone(now: Standing) -> str:
    return "refuse" if now.state in ("failed", "crashed") else "warn"


def _machine() -> dict[str, str]:
    found = readings()
    facts = {}
    if found.device_total_mib and found.device_used_mib is not None:
        facts[text("train_vram")] = (
            f"{found.device_used_mib / 1024:.1f} / {found.device_total_mib / 1024:.0f} GiB"
        )
    elif found.ram_total_mib and found.ram_used_mib is not None:
        facts[text("train_ram")] = (
            f"{found.ram_used_mib / 1024:.1f} / {found.ram_total_mib / 1024:.0f} GiB"
        )
    warmth = found.device_temperature_c or found.cpu_temperature_c
    if warmth is not None:
        facts[text("train_temperature")] = f"{warmth:.0f} °C"
    return facts


def _verdict(now: Standing, seen: View, run: str) -> str:
    """Whether it learns, what that rests on, and after the end the proof and the files."""
    if not isinstance(seen.latest.get(Progress), Progress):
        return ""
    if now.state in ("running", "paused") and not seen.of(Validated):
        return f'<div class="lead">{text("train_early")}</div>'
    found = seen.verdict()
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in found.evidence)
    parts = [
        f'<div class="verdict {found.tone}">{html.escape(found.sentence)}</div>',
        f"<details><summary>{text('train_evidence')}</summary><ul>{lines}</ul></details>",
    ]
    proof = seen.latest.get(Proved)
    if isinstance(proof, Proved):
        mark = "good" if proof.passed else "bad"
        said = text("train_proved") if proof.passed else text("train_not_proved")
        rungs = "".join(f"<li>{html.escape(line)}</li>" for line in proof.findings)
        parts.append(
            f'<details class="proof {mark}"><summary>{said}</summary><ul>{rungs}</ul></details>'
        )
    parts.append(_files(now, seen, run))
    return "".join(parts)


def _files(now: Standing, seen: View, run: str) -> str:
    lora = sorted(
        (now.summary.folder / "lora").glob("*.safetensors"), key=lambda p: p.stat().st_mtime
    )
    links = [
        (file_link(run, f"lora/{p.name}"), text("train_download", name=p.name)) for p in lora[-1:]
    ]
    if isinstance(report := seen.latest.get(Reported), Reported):
        links.append((file_link(run, report.path), text("train_report")))
    shown = " ".join(
        f'<a class="button" href="{html.escape(address)}" target="_blank">{html.escape(said)}</a>'
        for address, said in links
    )
    return f'<p class="files">{shown}</p>' if links else ""


def _warnings(seen: View) -> str:
    """Each warning once, with its fix."""
    warned = {event.id: event for event in seen.of(Warned)}
    if not warned:
        return ""
    rows = "".join(
        f'<div class="finding warn">{html.escape(event.message)}. '
        f"<span>{html.escape(text('form_fix', fix=event.fix)) if event.fix else ''}</span></div>"
        for event in warned.values()
    )
    return (
        f"<details><summary>{text('train_warnings', count=len(warned))}</summary>{rows}</details>"
    )


def _asking(workspace: Workspace, name: str) -> Callable[[str], None]:
    def ask(run: str) -> None:
        """Put a request before the run; one that has not begun is taken out of the queue."""
        folder = workspace.inside("runs", run)
        job = next((job for job in jobs(workspace) if job.run == run), None)
        if name == "stop" and job is not None:
            cancel(job)
        elif name == "continue":
            Control(folder).clear("pause")
        else:
            request: Request = name  # type: ignore[assignment]
            Control(folder).request(request)

    return ask
