"""The page is whole, safe, and works in a real browser: on a desk, a phone and paper, with Plotly's script or without."""

import base64
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin
from xml.etree import ElementTree

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from test_analysis import write_sweep

from superpositional import records
from superpositional.format import label
from superpositional.report import write as page
from superpositional.report.write import write_report

PUBLISHED = Path(__file__).resolve().parents[1] / "outputs" / "published" / "paper_classification"
EVIL = '<img src=x onerror=alert(1)> & "x"-->'
ERROR = "<script>alert(1)</script> & 'quotes' in \"an error\" that is longer than forty characters"
VOID = {"meta", "link", "img", "wbr"}
PHONE, DESKTOP = (390, 844), (1280, 900)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
# No name of a host is ever looked up.
NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND"
UNFOLD = "document.querySelectorAll('details').forEach(fold => { fold.open = true; })"
# Reads a table as lists of rows of cells' texts.
CELLS = "return [...arguments[0].tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent))"


def made_up(folder: Path, arms: list[str], seeds: int = 4) -> Path:
    """An unfinished sweep with runs of every end, each arm at settings that a search chose."""
    rng = np.random.default_rng(0)
    accuracies: dict = {arm: (0.9 + 0.01 * rng.normal(size=seeds)).tolist() for arm in arms}
    accuracies[arms[-1]][-1] = None
    epochs = {arm: [float(f"{5 + rng.normal():.2f}") for _ in range(seeds)] for arm in arms}
    epochs[arms[0]][0] = None
    ends = {(arms[1], 0): "failed", (arms[2], 1): "diverged"}

    def rising(arm: str, seed: int) -> list[float]:
        return [0.3 + 0.6 * (1 - 0.5**epoch) + 0.01 * arms.index(arm) / len(arms) for epoch in range(8)]

    write_sweep(folder, accuracies, epochs=epochs, statuses=ends, curves=rising)
    for path in folder.glob("*/seed-*/record.json"):
        record = json.loads(path.read_text()) | {"wall_seconds": float(rng.uniform(900, 2000)), "steps": 40}
        records.write_json(path, record | ({"error": ERROR} if record["status"] == "failed" else {}))
        if record["arm"] != arms[0]:
            ratios = [(5 * (i + 1), "perturbation/ratio", float(np.exp(-4 - 0.1 * i))) for i in range(8)]
            records.append_curves(path.parent / "curves.csv", ratios)
    plan = json.loads((folder / "sweep.json").read_text())
    best = [{"trial": "trial-0002", "values": {"optimizer.lr": 0.00123, "optimizer.eps": 1e-8}}]
    entry = {"trials_recorded": 4, "runs_recorded": 8, "wall_seconds": 1234.5, "best": "trial-0002", "trials": best}
    tuned = {"sweep": "tune_made_up", "metric": "val/accuracy/last", "trials": 4, "tuning_seeds": [100, 101]}
    records.write_json(folder / "sweep.json", plan | {"tuned": tuned | {"arms": dict.fromkeys(arms, entry)}})
    return folder


class Read(HTMLParser):
    """A page's elements and words; an element that is not closed where it ought to be is a failure."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.sections: dict[str, list[list[str]]] = {}
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        assert len(dict(attrs)) == len(attrs), attrs
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.rows = self.sections.setdefault(dict(attrs)["id"], [])
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data
        self.words.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    folder = made_up(tmp_path_factory.mktemp("page"), ["adam", EVIL, "placebo"])
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def text(sweep: Path) -> str:
    return (sweep / "report" / "index.html").read_text()


@pytest.fixture(scope="module")
def read(text: str) -> Read:
    return Read(text)


# The file ----------------------------------------------------------------------------------------------------------


def test_the_page_is_one_balanced_document_with_a_title_a_language_and_unique_ids(text, read):
    assert text.startswith("<!doctype html>\n")
    assert read.all("html") == [{"lang": "en"}]
    for tag in ("head", "title", "body", "header", "main", "nav", "h1", "style"):
        assert len(read.all(tag)) == 1, tag
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_page_names_nothing_to_load_but_plotlys_script_beside_it(sweep, text, read):
    assert "://" not in re.sub(r"data:image/svg\+xml;base64,[\w+/=]+", "", text)
    assert "@import" not in text
    assert "url(" not in text
    assert [script["src"] for script in read.all("script") if "src" in script] == ["plotly.min.js"]
    assert (sweep / "report" / "plotly.min.js").stat().st_size > 1e6
    for tag, attributes in read.elements:
        assert attributes.get("href", "#").startswith(("#", "data:"))
        assert tag == "script" or attributes.get("src", "data:").startswith("data:")
        assert not {"srcset", "onerror", "onclick", "onload", "style", "action"} & set(attributes)


def test_the_figures_within_load_nothing_and_run_nothing(read):
    for image in read.all("img"):
        kind, _, data = image["src"].partition(",")
        assert kind == "data:image/svg+xml;base64"
        svg = base64.b64decode(data, validate=True).decode()
        for element in ElementTree.fromstring(svg).iter():
            assert not {"script", "foreignObject", "image", "img"} & {element.tag.rpartition("}")[2]}
            for name, value in element.attrib.items():
                assert not name.startswith("on")
                assert not name.endswith("href") or value.startswith("#")
                assert re.findall(r"url\((?!#)", value) == []


def test_names_and_errors_are_words_and_never_marks(text, read):
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    cells = {cell for rows in read.sections.values() for row in rows for cell in row}
    assert {label(EVIL), ERROR} <= cells
    sentence = Read(page.marked(f"{EVIL} did **well**, said `{ERROR}`"))
    assert [tag for tag, _ in sentence.elements] == ["strong", "code"]
    assert "".join(sentence.words) == f"{EVIL} did well, said {ERROR}"


def test_every_section_is_in_the_navigation_and_every_image_has_words(read):
    links = [f"#{section['id']}" for section in read.all("section")]
    assert [link["href"] for link in read.all("a")] == links
    assert len(read.all("h2")) == len(read.all("section")) >= 8
    assert len(read.all("img")) == 5
    assert all(len(image["alt"]) > 20 for image in read.all("img"))


def test_every_planned_run_stands_in_the_table_however_it_ended(read):
    rows = {(row[0], row[1]): row for row in read.sections["runs"][1:]}
    assert set(rows) == {(label(arm), str(seed)) for arm in ("adam", EVIL, "placebo") for seed in range(4)}
    assert rows[label(EVIL), "0"][2] == "failed"
    assert rows[label(EVIL), "0"][-1] == ERROR
    assert rows["placebo", "1"][2:5] == ["diverged", "–", "–"]
    assert rows["placebo", "3"][2:] == ["not run", "–", "–", "–", "–"]
    # A miss of the target is no number, and no run's end either.
    assert rows["adam", "0"][2] == "done"
    assert rows["adam", "0"][4] == "–"


def test_a_sweep_without_claims_says_so(tmp_path):
    write_sweep(tmp_path, {"adam": [0.5, 0.6]})
    write_report(tmp_path)
    assert "No claim was declared with this sweep." in Read((tmp_path / "report" / "index.html").read_text()).words


def test_the_same_records_give_the_same_page(sweep, text, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    write_report(sweep, tmp_path)
    assert (tmp_path / "index.html").read_text() == text


# In a browser ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[webdriver.Chrome]:
    """Chromium without a window and without network; what it and its pages say is kept."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no chromium and chromedriver here; run: tests/browser.sh install")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, NO_NETWORK, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # The path of the driver keeps selenium from looking for one.
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """The published sweep's page, and one of 14 arms of which some are lost."""
    weights = [f"lambda_{weight}" for weight in ("0.05", "0.1", "0.5", "2.0", "10.0")]
    arms = ["adam", EVIL, "placebo", *weights, "quantum_moments", "frozen", "twin", "shuffled", "cosine", "random_sign"]
    many = made_up(tmp_path_factory.mktemp("many"), arms)
    published = tmp_path_factory.mktemp("published")
    write_report(PUBLISHED, published)
    write_report(many)
    return {"published": published / "index.html", "many": many / "report" / "index.html"}


@pytest.fixture(params=["published", "many"])
def opened(request, browser: webdriver.Chrome, files: dict[str, Path]) -> webdriver.Chrome:
    show(browser, files[request.param], DESKTOP)
    return browser


def show(browser: webdriver.Chrome, file: Path, size: tuple[int, int]) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE},
    )
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(file.as_uri())


def order(cells: list[str]) -> list[tuple[int, float]]:
    """What a column's cells are to be sorted by: numbers, then words, then what is missing."""
    found = []
    for cell in cells:
        number = re.match(r"[±>]?\s*([+-]?\d[\d.]*)(?![\w.])", cell.replace("−", "-").replace(",", ""))
        missing = cell.startswith("–")
        # Of a version number, such as 2.13.0, the first two parts count.
        value = float(".".join(number[1].split(".")[:2])) if number else 0.0
        found.append((0, value) if number else (1 + missing, 0.0))
    return found


@pytest.mark.browser
def test_the_page_opens_from_disk_in_silence_and_asks_for_nothing_else(opened):
    opened.execute_async_script("window.onload = arguments[0]; if (document.readyState === 'complete') arguments[0]()")
    assert opened.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    asked = [each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"]
    beside = urljoin(opened.current_url, "plotly.min.js")
    assert [url for url in asked if not url.startswith("data:")] == [opened.current_url, beside]
    assert [each for each in events if each["method"] == "Network.loadingFailed"] == []


@pytest.mark.browser
def test_every_image_is_decoded_and_can_be_seen(opened):
    found = opened.execute_async_script("""
        const done = arguments[0];
        const images = [...document.images];
        Promise.all(images.map(image => image.decode().then(() => true, () => false))).then(decoded => done(
          images.map((image, i) => ({decoded: decoded[i], natural: image.naturalWidth, seen: image.checkVisibility(),
            width: image.getBoundingClientRect().width, height: image.getBoundingClientRect().height}))));
    """)
    assert len(found) == 5
    for image in found:
        assert image["decoded"]
        assert image["seen"]
        assert min(image["natural"], image["width"], image["height"]) > 100, image


@pytest.mark.browser
def test_every_heading_of_every_table_sorts_up_and_down(opened):
    opened.execute_script(UNFOLD)
    tables = opened.find_elements(By.TAG_NAME, "table")
    assert len(tables) >= 5
    for table in tables:
        before = sorted(opened.execute_script(CELLS, table))
        heads = table.find_elements(By.TAG_NAME, "th")
        for column, head in enumerate(heads):
            for said in ("ascending", "descending"):
                head.find_element(By.TAG_NAME, "button").click()
                assert [each.get_dom_attribute("aria-sort") for each in heads] == [
                    said if each is head else None for each in heads
                ]
                rows = opened.execute_script(CELLS, table)
                assert sorted(rows) == before
                keys = order([row[column] for row in rows])
                sign = 1 if said == "ascending" else -1
                assert keys == sorted(keys, key=lambda key: (key[0], sign * key[1])), head.text
    assert opened.get_log("browser") == []


@pytest.mark.browser
def test_a_column_of_all_kinds_sorts_by_number_and_keeps_what_is_missing_last_by_keyboard_too(browser, files):
    up = ["−37.80 % (outside)", "−3.5", "0.00 (no interval)", "1e-05", "± 0.5 points", "+2.30 [−1, +3]", "12 of 30"]
    up += ["1,200", "> 1,000,000", "2e523bf", "baseline", "–", "–† (0 pairs)"]
    down = [*up[8::-1], *up[10:8:-1], *up[11:]]
    shuffled = [up[i] for i in (11, 3, 8, 0, 9, 5, 1, 12, 10, 7, 2, 6, 4)]
    show(browser, files["published"], DESKTOP)
    table = browser.find_element(By.TAG_NAME, "table")
    browser.execute_script(
        "const [body, texts] = [arguments[0].tBodies[0], arguments[1]];"
        "body.replaceChildren(...texts.map(text => { const row = document.createElement('tr');"
        "row.append(document.createElement('td')); row.firstChild.textContent = text; return row; }))",
        table, shuffled,
    )  # fmt: skip
    head = table.find_element(By.TAG_NAME, "th")
    browser.execute_script("arguments[0].focus()", head.find_element(By.TAG_NAME, "button"))
    for said, expected in (("ascending", up), ("descending", down)):
        ActionChains(browser).send_keys(Keys.ENTER).perform()
        assert head.get_dom_attribute("aria-sort") == said
        assert [row[0] for row in browser.execute_script(CELLS, table)] == expected


@pytest.mark.browser
def test_plotly_draws_what_comes_into_view_and_a_page_without_its_script_has_its_images(browser, files, tmp_path):
    show(browser, files["published"], DESKTOP)
    browser.execute_script(UNFOLD)
    figures = browser.find_elements(By.CSS_SELECTOR, "figure.plot")
    assert len(figures) >= 4
    for figure in figures:
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", figure)
        WebDriverWait(browser, 20).until(
            lambda _, each=figure: each.find_elements(By.CSS_SELECTOR, "svg .scatterlayer .trace")
        )
    assert browser.get_log("browser") == []
    (tmp_path / "index.html").write_text(files["published"].read_text())
    show(browser, tmp_path / "index.html", DESKTOP)
    assert [each.is_displayed() for each in browser.find_elements(By.CSS_SELECTOR, "figure.plot")] == [False] * len(figures)
    assert all(each.is_displayed() for each in browser.find_elements(By.TAG_NAME, "img"))


@pytest.mark.browser
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("name", ["published", "many"])
def test_nothing_but_what_scrolls_by_itself_is_wider_than_the_view(browser, files, name, size):
    show(browser, files[name], size)
    width, inner, beyond, figures = browser.execute_script("""
        document.querySelectorAll('details').forEach(fold => { fold.open = true; });
        const beyond = [...document.body.querySelectorAll('*')].filter(element => {
          const box = element.getBoundingClientRect();
          const within = element.parentElement.closest('.wide, nav, figure.plot') || element.closest('#js-plotly-tester');
          return !within && box.width && (box.left < 0 || box.right > innerWidth + 0.5);
        });
        const there = [...document.querySelectorAll('figure, figure.column img, figcaption')];
        const boxes = there.filter(each => each.offsetWidth);
        return [document.documentElement.scrollWidth, innerWidth, beyond.map(element => element.outerHTML.slice(0, 80)),
          boxes.map(each => each.getBoundingClientRect()).map(box => [box.left, box.right])];
    """)
    assert inner == size[0]
    assert width <= inner
    assert beyond == []
    assert len(figures) >= 6 + 5 + 6
    assert all(0 <= left < right <= inner for left, right in figures)


@pytest.mark.browser
def test_the_page_prints_to_pdf_with_every_run_of_a_table_that_scrolls(browser, files):
    show(browser, files["published"], DESKTOP)
    pdf = base64.b64decode(browser.print_page())
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    browser.execute_script(UNFOLD)
    hidden = browser.execute_script(
        "return [...document.querySelectorAll('.tall')].map(each => each.scrollHeight - each.clientHeight)"
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert hidden == [0]
