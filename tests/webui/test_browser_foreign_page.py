"""A page of another origin in Chromium: it can neither read, make, change nor delete videos.

Needs Chromium and playwright, as `test_browser.py`; skips without.
"""

from __future__ import annotations

import http.server
import threading

import pytest

from tests.webui.studio_page import CHROMIUM, FLAGS, TIMEOUT_MS, StudioServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KEY = "foreign-page-key-0123456789"
RESOLVER = "--host-resolver-rules=MAP *.test 127.0.0.1"
"""Names that an attacker owns and lets resolve to this machine."""

ATTACKS = """async ([target, video]) => {
  const outcomes = {};
  const attempt = async (name, run) => {
    try { outcomes[name] = String(await run()); } catch (error) { outcomes[name] = 'refused'; }
  };
  const api = `${target}/v1/videos`, one = `${api}/${video}`;
  const text = async (url, options) => (await fetch(url, options)).text();
  const body = JSON.stringify({prompt: 'made by another page'});
  const json = {'content-type': 'application/json'};
  const form = () => { const data = new FormData(); data.append('prompt', 'made by a form'); return data; };

  for (const credentials of ['omit', 'include'])
    for (const url of [api, one, `${one}/content`, `${one}/events`, `${target}/v1/models`])
      await attempt(`read ${credentials} ${url}`, () => text(url, {credentials}));
  await attempt('read unseen', () => text(api, {mode: 'no-cors', credentials: 'include'}));
  for (const mode of ['cors', 'no-cors']) {
    const options = {method: 'POST', mode, credentials: 'include'};
    await attempt(`make text ${mode}`, () => text(api, {...options, body}));
    await attempt(`make json ${mode}`, () => text(api, {...options, body, headers: json}));
    await attempt(`make form ${mode}`, () => text(api, {...options, body: form()}));
    await attempt(`make urlencoded ${mode}`,
      () => text(api, {...options, body: new URLSearchParams({prompt: 'x'})}));
    await attempt(`remix ${mode}`, () => text(`${one}/remix`, {...options, body}));
    await attempt(`cancel ${mode}`, () => text(`${one}/cancel`, options));
    await attempt(`session ${mode}`, () => text(`${target}/studio/session`, options));
    await attempt(`fal ${mode}`, () => text(`${target}/fal/kinema/testcard`, {...options, body}));
    await attempt(`mcp ${mode}`, () => text(`${target}/mcp`, {...options, body, headers: json}));
  }
  for (const method of ['DELETE', 'PATCH', 'PUT'])
    await attempt(method, () => text(one, {method, credentials: 'include'}));
  navigator.sendBeacon(api, body);

  const element = (name, attributes) => new Promise((resolve, reject) => {
    const made = Object.assign(document.createElement(name), attributes);
    made.onload = made.onloadeddata = () => resolve('loaded');
    made.onerror = reject;
    document.body.append(made);
  });
  await attempt('img', () => element('img', {src: `${one}/content?variant=thumbnail`}));
  await attempt('video', () => element('video', {src: `${one}/content`, preload: 'auto', muted: true}));
  await attempt('script', () => element('script', {src: api}));
  await attempt('style', () => element('link', {rel: 'stylesheet', href: api}));
  await attempt('events', () => new Promise((resolve, reject) => {
    const source = new EventSource(`${target}/v1/events`, {withCredentials: true});
    source.onopen = resolve;
    source.onerror = (error) => { source.close(); reject(error); };
  }));

  // Forms and frames load in any case; what the server answered is what counts.
  const submit = (action, enctype) => new Promise((resolve) => {
    const frame = Object.assign(document.createElement('iframe'), {name: `frame${Math.random()}`});
    document.body.append(frame);
    const made = Object.assign(document.createElement('form'), {
      action, enctype, method: 'post', target: frame.name});
    made.append(Object.assign(document.createElement('input'), {name: 'prompt', value: 'made by a form'}));
    document.body.append(made);
    frame.onload = resolve;
    made.submit();
  });
  for (const enctype of ['application/x-www-form-urlencoded', 'multipart/form-data', 'text/plain']) {
    await submit(api, enctype);
    await submit(`${one}/cancel`, enctype);
  }
  for (const src of [`${target}/studio/`, api, `${one}/content`])
    await new Promise((resolve) => {
      const frame = Object.assign(document.createElement('iframe'), {src, onload: resolve});
      document.body.append(frame);
    });
  return outcomes;
}"""


class BlankPage(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>another page</title><body></body>")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def other_port():
    """Of a web server with the page of the attacker."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), BlankPage) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        yield pages.server_port
        pages.shutdown()


@pytest.fixture(scope="module")
def context(browser):
    own = browser.browser_type.launch(executable_path=CHROMIUM, args=[*FLAGS, RESOLVER])
    context = own.new_context()
    context.set_default_timeout(TIMEOUT_MS)
    yield context
    own.close()


@pytest.fixture(scope="module")
def server_with_key(tmp_path_factory):
    server = StudioServer(tmp_path_factory.mktemp("data"), key=KEY).start()
    yield server
    server.stop()


def attack(context, server, page_address):
    """Everything that a page can try; the outcomes, and the server's answers as (method, URL, status)."""
    video = server.make("The owner's video")
    before = server.videos()
    page, answers = context.new_page(), []
    page.on(
        "response", lambda response: answers.append((response.request.method, response.url, response.status))
    )
    page.goto(page_address)
    outcomes = page.evaluate(ATTACKS, [server.address, video["id"]])
    framed = [frame.url for frame in page.frames if frame.url.startswith(server.address + "/studio")]
    page.close()
    assert server.videos() == before
    return outcomes, [answer for answer in answers if answer[1].startswith(server.address)], framed


def assert_all_refused(outcomes, answers):
    # A page can send requests "no-cors", but sees nothing of the answer.
    assert {name: seen for name, seen in outcomes.items() if seen not in ("refused", "")} == {}
    assert len(outcomes) > 30
    sent = {(method, status) for method, _, status in answers}
    assert ("POST", 403) in sent or ("POST", 401) in sent
    assert all(status in (401, 403) for _, url, status in answers if "/studio" not in url), answers


@pytest.mark.parametrize("host", ["127.0.0.1", "evil.test", "127.0.0.1.evil.test"])
def test_other_pages_are_refused_by_a_server_without_keys(context, server, other_port, host):
    outcomes, answers, framed = attack(context, server, f"http://{host}:{other_port}/")
    assert_all_refused(outcomes, answers)
    assert all(status == 403 for _, _, status in answers), answers
    assert framed == []


@pytest.mark.parametrize("host", ["127.0.0.1", "evil.test"])
def test_other_pages_can_t_use_the_session_of_a_browser(context, server_with_key, other_port, host):
    server = server_with_key
    response = context.request.post(
        f"{server.address}/studio/session", headers={"authorization": f"Bearer {KEY}"}
    )
    assert response.status == 204
    page = context.new_page()
    page.goto(f"{server.address}/studio/")
    # The session works on the page of the server itself.
    assert page.evaluate("fetch('/v1/videos').then((response) => response.status)") == 200
    page.close()
    outcomes, answers, framed = attack(context, server, f"http://{host}:{other_port}/")
    assert_all_refused(outcomes, answers)
    assert framed == []


def test_a_name_that_resolves_to_this_machine_opens_nothing(context, server):
    """DNS rebinding: the page is of the same origin as the server, under the attacker's name."""
    video, page = server.make("The owner's video"), context.new_page()
    before = server.videos()
    response = page.goto(f"http://rebound.test:{server.port}/studio/")
    assert response.status == 403
    statuses = page.evaluate(
        """async (video) => Promise.all([
            fetch('/v1/videos'), fetch(`/v1/videos/${video}/content`), fetch('/studio/'),
            fetch('/v1/videos', {method: 'POST', body: JSON.stringify({prompt: 'x'})}),
            fetch(`/v1/videos/${video}`, {method: 'DELETE'}),
            fetch(`/v1/videos/${video}/cancel`, {method: 'POST'}),
        ].map(async (answer) => (await answer).status))""",
        video["id"],
    )
    assert statuses == [403] * 6
    page.close()
    assert server.videos() == before
