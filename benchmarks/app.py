"""What the app costs: seconds until its page is usable, a poll's time, memory, training speed.

    python benchmarks/app.py              # all; needs Chromium and playwright
    python benchmarks/app.py --start      # the first only
    python benchmarks/app.py --answers    # and how soon a changed control shows

Claims, on two cores: usable in at most 6 s (the best of three starts, so that files are in the
system's cache); a poll of two seconds takes at most 20 ms of server time; memory is flat over 2,000
polls; a training beside an open page is at most 3 % slower than without.

Polls are those of the page itself, recorded in the browser with its tab Train open on a run that
trains, and sent again without it: a browser on these two cores would be measured along. Training
with and without polls alternates in one run, since a machine's speed drifts from minute to minute.

A changed control of the tabs Captions, Buckets and Noise shows within 300 ms, on the critters and
on a folder of 500 pictures: from the key that is pressed to the last of what it changes, in the
browser; the median of several changes.
"""

import itertools
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
from playwright.sync_api import Browser, Page, sync_playwright

import workbench as wb
from workbench.critters import world
from workbench.critters.draw import WORLD_SIZES
from workbench.records import log
from workbench.records.events import Progress
from workbench.workspace.folders import Workspace

MAX_START_S, MAX_POLL_MS, MAX_GROWTH_MIB, MAX_SLOWDOWN = 6.0, 20.0, 10.0, 0.03
MAX_ANSWER_MS, NUM_PICTURES = 300.0, 500
NUM_STARTS, NUM_POLLS, TICK_S = 3, 2000, 2.0
PHASE_S, NUM_PHASES = 8.0, 25  # begins and ends without polls
NUM_STEPS = 4000  # more than there is time for: the run is stopped


def start(browser: Browser, workspace: Path) -> tuple[subprocess.Popen[bytes], str, float, Page]:
    """Start the app and open its page.

    Args:
        browser: already running.
        workspace: of the app.
    Returns:
        Its process and address, seconds from the command to a page that shows its state, the page.
    """
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "workbench", "app", str(workspace), "--no-browser"]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL)
    while True:
        try:
            httpx.get(url, timeout=10)
            break
        except httpx.ConnectError:
            if process.poll() is not None:
                sys.exit(f"workbench app ended with {process.returncode}")
            time.sleep(0.02)
    page.goto(url)
    page.locator("#status .status").wait_for(timeout=60_000)
    page.locator("#train-now").wait_for(timeout=60_000)
    return process, url, time.perf_counter() - began, page


def recorded_polls(page: Page) -> list[dict[str, Any]]:
    """Listen to what the page asks for while nobody touches it.

    Args:
        page: open on a run that trains.
    Returns:
        Bodies of one poll's requests.
    """
    bodies: list[dict[str, Any]] = []

    def keep(request: Any) -> None:
        if "/queue/join" in request.url or "/run/predict" in request.url:
            address = urlsplit(request.url).path
            bodies.append(json.loads(request.post_data) | {"address": address})

    page.wait_for_timeout(6000)  # what the tab asks for when it is opened is no poll
    page.on("request", keep)
    page.wait_for_timeout(4.5 * TICK_S * 1000)
    page.remove_listener("request", keep)
    latest = {body["fn_index"]: body for body in bodies}
    return list(latest.values())


def poll(client: httpx.Client, bodies: list[dict[str, Any]]) -> None:
    """Ask what the page asks, and wait for the answers as it does.

    Args:
        client: of the app.
        bodies: requests of one poll.
    """
    waiting = set()
    for body in bodies:
        answer = client.post(body["address"], json=body).raise_for_status().json()
        if "event_id" in answer:  # queued: the answer comes by another way
            waiting.add(answer["event_id"])
    if not waiting:
        return
    address = f"/gradio_api/queue/data?session_hash={bodies[0]['session_hash']}"
    with client.stream("GET", address) as answers:
        for line in answers.iter_lines():
            if not line.startswith("data:"):
                continue
            message = json.loads(line[5:])
            if message["msg"] == "process_completed":
                assert message["success"], message
                waiting.discard(message["event_id"])
            if not waiting:
                return


def server_time(process: psutil.Process) -> float:
    """Seconds of processor time that a process has used.

    Args:
        process: the server.
    Returns:
        User and system time.
    """
    times = process.cpu_times()
    return times.user + times.system


def many_polls(
    url: str, process: psutil.Process, bodies: list[dict[str, Any]]
) -> tuple[float, float]:
    """Poll as fast as the server answers.

    Args:
        url: of the app.
        process: the server.
        bodies: requests of one poll.
    Returns:
        Milliseconds of server time a poll, and growth of its memory from the first tenth on, MiB.
    """
    with httpx.Client(base_url=url, timeout=60) as client:
        for _ in range(NUM_POLLS // 10):
            poll(client, bodies)
        memory, began_s = process.memory_info().rss, server_time(process)
        for _ in range(NUM_POLLS):
            poll(client, bodies)
        taken_s = server_time(process) - began_s
        growth = (process.memory_info().rss - memory) / 2**20
    return 1000 * taken_s / NUM_POLLS, growth


def slowdown(url: str, run: Path, bodies: list[dict[str, Any]]) -> float:
    """Compare the steps of a run with and without polls beside it.

    Args:
        url: of the app.
        run: folder of a run that trains.
        bodies: requests of one poll.
    Returns:
        How much longer a step takes beside an open page, as a part of it.
    """
    ended, polling = threading.Event(), threading.Event()

    def visit() -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not ended.is_set():
                if polling.wait(0.1):
                    began = time.perf_counter()
                    poll(client, bodies)
                    ended.wait(max(0.0, TICK_S - (time.perf_counter() - began)))

    visitor = threading.Thread(target=visit)
    visitor.start()
    phases = []
    for index in range(NUM_PHASES):
        (polling.set if index % 2 else polling.clear)()
        time.sleep(TICK_S)  # until the other phase's last poll is over
        began = time.time()
        time.sleep(PHASE_S)
        phases.append((began, time.time()))
    ended.set()
    visitor.join()
    times = [event.time for event in log.read(run) if isinstance(event, Progress)]
    steps = list(itertools.pairwise(times))
    took = [
        statistics.median(b - a for a, b in steps if a >= first and b <= last)
        for first, last in phases
    ]
    # Each polled phase beside its neighbours, as speed drifts; the median, as phases are disturbed.
    ratios = [2 * took[k] / (took[k - 1] + took[k + 1]) for k in range(1, NUM_PHASES, 2)]
    print("phases beside their neighbours:", ", ".join(f"{ratio - 1:+.1%}" for ratio in ratios))
    return statistics.median(ratios) - 1


def train(workspace: Path) -> subprocess.Popen[bytes]:
    """Begin a long run of the critters in the workspace.

    Args:
        workspace: of the app.
    Returns:
        The trainer's process, when the first steps are done.
    """
    settings = ["name=long", f"length.steps={NUM_STEPS}", "output.report=false"]
    recipe = workspace / "long.toml"
    recipe.write_text(wb.Recipe.preset("critters").override(settings).to_toml(), encoding="utf-8")
    run = workspace / "runs/long"
    command = [sys.executable, "-m", "workbench", "train", str(recipe), "--folder", str(run)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while (
        not (run / log.FILE_NAME).exists()
        or sum(isinstance(event, Progress) for event in log.read(run)) < 20
    ):
        if process.poll() is not None:
            sys.exit(f"the training ended with {process.returncode}")
        time.sleep(1)
    return process


# Notes when a key was pressed, and when each part of the page then first changed.
_WATCH = """(parts) => {
  const watch = (window.watch = {began: 0, changed: {}});
  const press = () => (watch.began ||= performance.now());
  document.addEventListener("keydown", press, {capture: true, once: true});
  for (const part of parts) {
    const look = new MutationObserver(() => {
      if (watch.began) watch.changed[part] ??= performance.now();
    });
    const what = {childList: true, subtree: true, characterData: true, attributeFilter: ["src"]};
    look.observe(document.querySelector(part), what);
  }
}"""
_ALL_CHANGED = "(count) => Object.keys(window.watch.changed).length === count"
_TAKEN = "() => Math.max(...Object.values(window.watch.changed)) - window.watch.began"


def answer_ms(page: Page, control: str, values: list[str], parts: list[str]) -> float:
    """Change a control, and see when all that depends on it has changed.

    Args:
        page: open on the control's tab.
        control: selector of a box to type in, or of a slider.
        values: to type; of a slider, keys to press.
        parts: selectors of what changes.
    Returns:
        Median of the milliseconds that it took.
    """
    taken = []
    for value in values:
        box = page.locator(control)
        if not value.startswith("Arrow"):
            box.fill(value)
        page.evaluate(_WATCH, parts)
        box.press(value if value.startswith("Arrow") else "Enter")
        page.wait_for_function(_ALL_CHANGED, arg=len(parts))
        taken.append(page.evaluate(_TAKEN))
        page.wait_for_timeout(1500)  # what follows by itself is no part of the next answer
    print(f"  {control}:", ", ".join(f"{each:.0f} ms" for each in taken))
    return statistics.median(taken)


CONTROLS = {
    "Buckets": (
        '#tab-buckets [aria-label="buckets resolution"]',
        ["112", "128", "160", "144", "128"],
        ["#bucket-facts", "#bucket-points", "#bucket-bars"],
    ),
    "Captions": (
        '#tab-captions [aria-label="captions tag dropout"]',
        ["0.1", "0.3", "0.2", "0.4", "0.1"],
        ["#draws", "#survival"],
    ),
    "Noise": (
        "#noise-timestep input[type=range]",
        ["ArrowRight"] * 5,
        ["#noise-pictures"],
    ),
}


def answers(browser: Browser, workspace: Path) -> list[tuple[str, float, float, str]]:
    """Measure how soon a changed control shows.

    Args:
        browser: already running.
        workspace: of the app; gets a folder of pictures.
    Returns:
        Title, value, limit and unit of each claim.
    """
    folder = workspace / "data/many"
    folder.mkdir(parents=True)
    for index in range(NUM_PICTURES):
        picture, caption = world(7, index, WORLD_SIZES)
        picture.save(folder / f"{index:03d}.png")
        (folder / f"{index:03d}.txt").write_text(caption, encoding="utf-8")
    critters = wb.Recipe.preset("critters")
    sources = {
        "critters": critters,
        f"{NUM_PICTURES} pictures": critters.override([f'data.subsets=[{{path="{folder}"}}]']),
    }
    found = []
    for name, recipe in sources.items():
        Workspace(workspace).save_draft(recipe)
        process, _, _, page = start(browser, workspace)
        try:
            for tab, (control, values, parts) in CONTROLS.items():
                page.get_by_role("tab", name=tab, exact=True).click()
                page.wait_for_timeout(8000)  # opening a tab is no answer
                print(f"{tab} on {name}")
                taken = answer_ms(page, control, values, parts)
                found.append((f"a change in {tab} on {name}", taken, MAX_ANSWER_MS, "ms"))
            page.close()
        finally:
            process.terminate()
            process.wait()
    return found


def main() -> None:
    """Measure and say whether the claims hold."""
    chromium = shutil.which("chromium") or sys.exit(
        "there is no chromium: apt-get install chromium"
    )
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    results: list[tuple[str, float, float, str]] = []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as name:
        workspace = Path(name)
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        starts = []
        for _ in range(NUM_STARTS):
            process, _, taken_s, page = start(browser, workspace)
            starts.append(taken_s)
            page.close()
            process.terminate()
            process.wait()
        print("starts:", ", ".join(f"{taken_s:.2f} s" for taken_s in starts))
        results.append(("start to usable page", min(starts), MAX_START_S, "s"))
        if "--start" not in sys.argv:
            results += answers(browser, workspace)
        if "--start" not in sys.argv and "--answers" not in sys.argv:
            results += beside_a_run(browser, workspace)
    for title, value, limit, unit in results:
        verdict = "holds" if value <= limit else "FAILS"
        print(f"{title}: {value:.3g} {unit}; at most {limit:g}: {verdict}")
    sys.exit(any(value > limit for _, value, limit, _ in results))


def beside_a_run(browser: Browser, workspace: Path) -> list[tuple[str, float, float, str]]:
    """Measure what a page costs that is open on a run.

    Args:
        browser: already running.
        workspace: of the app.
    Returns:
        Title, value, limit and unit of each claim.
    """
    trainer = train(workspace)
    process, url, _, page = start(browser, workspace)
    try:
        page.get_by_role("tab", name="Train", exact=True).click()
        bodies = recorded_polls(page)
        page.close()
        browser.close()
        print(f"a poll is {len(bodies)} requests")
        slower = slowdown(url, workspace / "runs/long", bodies)
        poll_ms, growth = many_polls(url, psutil.Process(process.pid), bodies)
    finally:
        process.terminate()
        trainer.terminate()
        process.wait()
        trainer.wait()
    return [
        ("server time of a poll", poll_ms, MAX_POLL_MS, "ms"),
        (f"growth of memory over {NUM_POLLS:,} polls", growth, MAX_GROWTH_MIB, "MiB"),
        ("training beside an open page, slower by", 100 * slower, 100 * MAX_SLOWDOWN, "%"),
    ]


if __name__ == "__main__":
    main()
