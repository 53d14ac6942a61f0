"""The live pages in a real browser: live_browser.py CHROMIUM PROGRAM FOLDER

PROGRAM is captionlab. In FOLDER lie scene.png, a drawn scene that the browser's camera sees, and notebook.html, what a notebook cell
shows of a live page that runs meanwhile. Screenshots are left in FOLDER/screenshots. Prints "ok NAME" or a traceback for each scenario,
and "caption: ..." with what was said of the scene. Ends with 1 if a scenario failed.

Names of scenarios behind the folder run these alone. Needs what requirements-dev.txt names.
"""

import contextlib
import functools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
from axe_playwright_python.sync_playwright import Axe
from nbformat.sign import NotebookNotary
from PIL import Image
from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
ALLOW = "--use-fake-ui-for-media-stream"
CAMERA = "--use-fake-device-for-media-stream"
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/(?:[0-9a-f]{32}/)?(?=[\s')])")
LAPTOP = {"width": 1280, "height": 800}
PHONE = {"width": 375, "height": 812}


class Stage:
    """The browsers and programs of all scenarios."""

    def __init__(self, chromium, program, folder, playwright):
        self.chromium, self.program, self.folder, self.playwright = chromium, program, folder, playwright
        self.browsers, self.programs, self.contexts = {}, [], []
        self.screenshots = folder / "screenshots"
        self.screenshots.mkdir(exist_ok=True)
        write_film(folder / "scene.png", folder / "scene.y4m")
        self.camera = [ALLOW, CAMERA, f"--use-file-for-fake-video-capture={folder / 'scene.y4m'}"]
        self.home = tempfile.TemporaryDirectory(prefix="live-browser-")

    def start(self, name, *command, **environment):
        """Starts a program; what it prints goes to a file."""
        log = self.folder / f"{name}.log"
        with open(log, "w") as output:
            program = subprocess.Popen([str(part) for part in command], stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                       start_new_session=True, env={**os.environ, **environment})
        self.programs.append(program)
        program.address = lambda: wait(lambda: ADDRESS.search(log.read_text()), f"an address in {log.name}")[0]
        return program

    @functools.cached_property
    def live(self):
        """The address of the page that most scenarios share."""
        return self.start("live", self.program, "live").address()

    @functools.cached_property
    def lab(self):
        """Gives addresses of a JupyterLab, whose notebook page.ipynb holds what the cell of a live page shows."""
        config, data, runtime, notebooks = (Path(self.home.name) / name for name in ("config", "data", "runtime", "notebooks"))
        for folder in (config / "labconfig", data, notebooks):
            folder.mkdir(parents=True)
        # No news from the network, and no question about them.
        no_news = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
        (config / "labconfig/page_config.json").write_text(json.dumps(no_news))
        output = nbformat.v4.new_output("display_data", {"text/html": (self.folder / "notebook.html").read_text()})
        cell = nbformat.v4.new_code_cell("live.show()", execution_count=1, outputs=[output])
        book = nbformat.v4.new_notebook(cells=[cell])
        nbformat.write(book, notebooks / "page.ipynb")
        # Scripts of a stored output run only in a notebook that is trusted: this is what `jupyter trust` does.
        NotebookNotary(data_dir=str(data)).sign(book)
        self.start("lab", sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0", f"--notebook-dir={notebooks}",
                   JUPYTER_CONFIG_DIR=str(config), JUPYTER_DATA_DIR=str(data), JUPYTER_RUNTIME_DIR=str(runtime))
        found = wait(lambda: list(runtime.glob("jpserver-*.json")), "JupyterLab", 30)
        server = wait(lambda: json.loads(found[0].read_text() or "null"), "the address of JupyterLab")
        return lambda path: f"http://127.0.0.1:{server['port']}/{path}?token={server['token']}"

    def page(self, address=None, flags=None, faults=True, context=None, **options):
        """A page in a browser with these flags. What goes wrong in it is kept, and fails its scenario in the end."""
        flags = tuple(flags or self.camera)
        if flags not in self.browsers:
            self.browsers[flags] = self.playwright.chromium.launch(executable_path=self.chromium, args=[*FLAGS, *flags])
        if context is None:
            context = self.browsers[flags].new_context(viewport=LAPTOP, **options)
            context.set_default_timeout(15_000)
            context.faults = []
            self.contexts.append(context)
        page = context.new_page()
        page.told = []  # what the server said
        if faults:
            page.on("console", lambda line: line.type in ("error", "warning") and context.faults.append(line.text))
            page.on("pageerror", lambda error: context.faults.append(str(error)))
        page.on("request", lambda request: is_here(request.url) or context.faults.append(f"a request to {request.url}"))
        page.on("websocket", lambda channel: channel.on("framereceived", lambda said: page.told.append(said)))
        if address:
            page.goto(address)
        return page

    def screenshot(self, page, name):
        page.screenshot(path=self.screenshots / f"{name}.png")

    def close_pages(self, failed=None):
        contexts, self.contexts = self.contexts, []
        for number, page in enumerate(page for context in contexts for page in context.pages if failed):
            with contextlib.suppress(Exception):
                self.screenshot(page, f"failed-{failed}-{number}")
        for context in contexts:
            context.close()
        faults = [fault for context in contexts for fault in context.faults]
        assert failed or not faults, faults

    def close(self):
        for program in self.programs:
            kill(program)
        for browser in self.browsers.values():
            with contextlib.suppress(Exception):
                browser.close()
        self.home.cleanup()


def kill(program):
    """Ends a program and what it started."""
    if program.poll() is None:
        os.killpg(program.pid, signal.SIGKILL)
        program.wait()


def write_film(scene, film):
    """A camera's film of a picture, four frames in YUV. It is square as the scene is, so that nothing of it is cut off."""
    luma, *chroma = Image.open(scene).convert("RGB").resize((480, 480)).convert("YCbCr").split()
    # Films do not use the whole range of a byte.
    planes = [luma.point([round(16 + value * 219 / 255) for value in range(256)])]
    planes += [plane.point([round(128 + (value - 128) * 224 / 255) for value in range(256)]).resize((240, 240)) for plane in chroma]
    frame = b"FRAME\n" + b"".join(plane.tobytes() for plane in planes)
    film.write_bytes(b"YUV4MPEG2 W480 H480 F20:1 Ip A1:1 C420jpeg\n" + 4 * frame)


def is_here(address):
    return urlsplit(address).scheme in ("data", "blob") or urlsplit(address).hostname == "127.0.0.1"


def wait(test, what, seconds=15, page=None):
    """What `test` gives as soon as that is true. The policy of the pages forbids Playwright's own way."""
    end = time.monotonic() + seconds
    while not (result := test()):
        assert time.monotonic() < end, f"{what}: nothing after {seconds} s"
        page.wait_for_timeout(50) if page else time.sleep(0.05)
    return result


def read(page, selector):
    return page.locator(selector).inner_text()


def frames(frame):
    return int(frame.locator("html").get_attribute("data-frames"))


def captions(page, more=3, frame=None):
    """Waits until this many more captions are there, in the page or a frame of it; gives the last."""
    frame = frame or page
    before = frames(frame)
    wait(lambda: frames(frame) >= before + more, "captions", page=page)
    return frame.locator("#caption").get_attribute("data-caption")


def knobs(page):
    """The temperature and the beam that the server said last."""
    said = [json.loads(text) for text in page.told if isinstance(text, str)]
    settings = next(message["settings"] for message in reversed(said) if "settings" in message)
    return settings["temperature"], settings["beam"]


def check_axe(page):
    """No violation of the rules of accessibility that keeps somebody out, in light and in dark."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = Axe().run(page).response["violations"]
        bad = [(rule["id"], [node["html"][:100] for node in rule["nodes"]]) for rule in found if rule["impact"] in ("serious", "critical")]
        assert not bad, (scheme, bad)


# ---- Scenarios ----

def camera(stage):
    page = stage.page(stage.live)
    caption = captions(page, 5)
    started, before = time.monotonic(), frames(page)
    page.wait_for_timeout(2_500)
    rate = (frames(page) - before) / (time.monotonic() - started)
    assert rate >= 5, f"{rate:.1f} captions a second"
    assert float(read(page, "#rate")) >= 4
    words = page.locator(".word .text").all_inner_texts()
    assert " ".join(words) == caption, (words, caption)
    assert page.locator("#overlay .box").count() > 1 and page.locator("#overlay .chosen").count() > 0
    assert re.fullmatch(r"exp\(-\d+\.\d\d\) = .+ %", read(page, "#probability")), read(page, "#probability")
    for stage_name in ("decode", "encode", "speak", r"network \+ browser"):
        assert re.search(rf"{stage_name} \d+\.\d ms", read(page, "#stage-legend")), read(page, "#stage-legend")
    assert "drawings" in read(page, "#note")
    stage.screenshot(page, "light")
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(400)  # words change their colours slowly
    stage.screenshot(page, "dark")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(PHONE)
    captions(page)
    assert page.locator("html").evaluate("root => root.scrollWidth <= root.clientWidth"), "the page is wider than a phone"
    stage.screenshot(page, "phone")
    print(f"caption: {caption}", flush=True)


def no_camera(stage):
    refused = (["--deny-permission-prompts", CAMERA], "does not let this page use the camera")
    for flags, explanation in [refused, ([ALLOW], "No camera was found")]:
        page = stage.page(stage.live, flags)
        page.get_by_text(explanation).wait_for()
        assert page.locator("#problem").get_attribute("role") == "alert" and not page.locator("#stage").is_visible()
        page.get_by_role("button", name="Show the film of scenes instead").click()
        captions(page)
        assert read(page, "#problem") == "" and page.locator("#stage").is_visible()


def film(stage):
    page = stage.page(stage.live)
    captions(page, 1)
    page.locator("#source").select_option("scenes")
    captions(page)
    assert read(page, "#truth").startswith("People said: “"), read(page, "#truth")
    assert not page.locator("#note").is_visible()
    before = page.locator("#history li").count()
    wait(lambda: page.locator("#history li").count() > before + 1, "more captions in the history", page=page)


def keyboard(stage):
    page = stage.page(stage.live)
    captions(page)
    page.keyboard.press(" ")
    page.get_by_role("button", name="Resume").wait_for()
    page.wait_for_timeout(300)  # the picture in flight
    before = frames(page)
    page.wait_for_timeout(700)
    assert frames(page) == before
    page.keyboard.press(" ")
    captions(page)
    order = []
    for _ in range(40):
        page.keyboard.press("Tab")
        focus = page.locator(":focus")
        name, outline = focus.evaluate("node => [node.id || node.classList[0], parseFloat(getComputedStyle(node).outlineWidth)]")
        assert outline >= 2, f"{name} does not show that it has the focus"
        order += [name] if name not in order[-1:] else []  # there are many words
        if name in ("temperature", "beam"):
            page.keyboard.press("ArrowRight")
            page.keyboard.press("ArrowRight")
            # The two exclude each other: the one that was turned last stays.
            set_to = {"temperature": (0.2, 1), "beam": (0.0, 3)}[name]
            wait(lambda: knobs(page) == set_to, f"{name} as set", page=page)
        if name == "beam":
            break
    assert order == ["source", "pause", "boxes", "mirror", "word", "temperature", "beam"], order
    page.locator("#others li").first.wait_for()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowRight")
    wait(lambda: knobs(page) == (0.1, 1), "the temperature again", page=page)
    wait(lambda: (read(page, "#temperature-value"), read(page, "#beam-value")) == ("0.1", "1"), "knobs on the page", page=page)
    captions(page)


def two_tabs(stage):
    one = stage.page(stage.live)
    two = stage.page(stage.live, context=one.context)
    captions(one)
    captions(two)
    one.locator("#beam").fill("4")
    one.locator("#others li").first.wait_for()
    captions(two)
    assert (knobs(one), knobs(two)) == ((0.0, 4), (0.0, 1))
    assert two.locator("#beam").input_value() == "1" and not two.locator("#others-panel").is_visible()


def server_comes_back(stage):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # A server finds the token of the one before it on its port in the cache.
    command, cache = [stage.program, "live", "--port", port], stage.home.name
    first = stage.start("first", *command, CAPTIONLAB_CACHE=cache)
    page = stage.page(first.address(), faults=False)
    captions(page)
    page.locator("#temperature").fill("0.5")
    wait(lambda: knobs(page) == (0.5, 1), "the temperature", page=page)
    kill(first)
    page.get_by_text("Reconnecting").wait_for()
    assert page.locator("html").get_attribute("data-connected") == "no"
    page.told.clear()
    second = stage.start("second", *command, CAPTIONLAB_CACHE=cache)
    assert second.address() == first.address()
    captions(page)
    assert read(page, "#status") == "Connected" and knobs(page) == (0.5, 1)
    kill(second)


def accessible(stage):
    page = stage.page(stage.live, bypass_csp=True)
    page.locator("#beam").fill("3")
    page.locator("#others li").first.wait_for()
    page.locator("#pause").click()
    check_axe(page)


def training(stage):
    settings = ["--scenes", 64, "--epochs", 200, "--set", "run.batch_size=8", "--out", stage.folder / "run"]
    run = stage.start("training", stage.program, "train", "eye", *settings, "--watch")
    page = stage.page(run.address(), faults=False)  # that the program ends is one
    page.locator("#losses circle").nth(4).wait_for()  # one is in the legend
    page.get_by_text(re.compile(r"^\d+ pictures/s$")).wait_for()
    wait(lambda: read(page, "#samples tr:first-child .said") not in ("", "–"), "samples", page=page)
    assert page.locator("#samples img").first.evaluate("picture => picture.naturalWidth") > 0
    stage.screenshot(page, "training")
    check_axe(stage.page(run.address(), faults=False, bypass_csp=True))
    page.get_by_role("button", name="Stop the training").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop the training").click()
    page.locator("#phase", has_text="Stopped").wait_for()
    assert run.wait(15) == 0
    page.get_by_text("The program that trains is gone").wait_for()
    assert read(page, "#phase") == "Stopped" and page.locator("#losses circle").count() > 4


def notebook(stage):
    page = stage.page(faults=False)
    assert open_notebook(page, stage) == direct_address(stage)
    stage.screenshot(page, "jupyter")


def notebook_elsewhere(stage):
    direct = urlsplit(direct_address(stage))
    proxied = stage.lab(f"proxy/{direct.port}{direct.path}")
    captions(stage.page(proxied))
    page = stage.page(faults=False)
    # As if the notebook ran on another computer.
    page.route(f"{direct.geturl()}**", lambda route: route.abort())
    assert open_notebook(page, stage) == proxied.split("?")[0]


def direct_address(stage):
    return ADDRESS.search((stage.folder / "notebook.html").read_text())[0]


def open_notebook(page, stage):
    """Waits until the page below the notebook's cell shows captions; gives its address."""
    page.goto(stage.lab("lab/tree/page.ipynb"))
    page.locator(".jp-Dialog").get_by_role("button", name="No Kernel").click(timeout=30_000)
    page.locator("iframe").wait_for()  # visible
    captions(page, frame=page.frame_locator("iframe"))
    return page.locator("iframe").get_attribute("src")


def other_page(stage):
    """A page of somebody else, even one that knows the token, does not reach the server."""
    script = """address => new Promise(done => {
        const channel = new WebSocket(address);
        channel.onmessage = () => done("heard");
        channel.onclose = () => done("closed");
    })"""
    channel = stage.live.replace("http", "ws") + "channel"
    assert stage.page(stage.live).evaluate(script, channel) == "heard"
    server = ["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", stage.screenshots]
    other = stage.start("other", sys.executable, *server)
    assert stage.page(other.address(), faults=False).evaluate(script, channel) == "closed"


SCENARIOS = [camera, no_camera, film, keyboard, two_tabs, server_comes_back, accessible, training, notebook, notebook_elsewhere, other_page]


def main(chromium, program, folder, *names):
    # A test that gives up ends this script so, and all that runs has to end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    failed = False
    with sync_playwright() as playwright:
        stage = Stage(chromium, program, Path(folder).resolve(), playwright)
        try:
            for scenario in SCENARIOS:
                name, started = scenario.__name__, time.monotonic()
                if names and name not in names:
                    continue
                try:
                    scenario(stage)
                    stage.close_pages()
                    print(f"ok {name} ({time.monotonic() - started:.1f} s)", flush=True)
                except Exception as error:
                    failed = True
                    # Playwright's own lines would bury the scenario's.
                    trace = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == __file__]
                    print(f"failed {name} ({time.monotonic() - started:.1f} s)", *traceback.format_list(trace),
                          *traceback.format_exception_only(error), sep="\n", flush=True)
                    stage.close_pages(name)
        finally:
            stage.close()
    return failed


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
