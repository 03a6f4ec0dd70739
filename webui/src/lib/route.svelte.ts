/** The view in the address: #/, #/video/ID, #/storyboard, #/compare/ID,ID, #/live?prompt=WORDS. */

export type Route =
  | { view: "wall" }
  | { view: "video"; id: string }
  | { view: "storyboard" }
  | { view: "compare"; ids: string[] }
  | { view: "live"; prompt: string | null };

function parse(hash: string): Route {
  const [path, query] = hash.replace(/^#\/?/, "").split("?", 2);
  const [view, rest = ""] = path!.split("/", 2);
  if (view === "video" && rest) return { view, id: rest };
  if (view === "storyboard") return { view };
  if (view === "compare" && rest) return { view, ids: rest.split(",") };
  if (view === "live") return { view, prompt: new URLSearchParams(query).get("prompt") };
  return { view: "wall" };
}

class Router {
  current = $state.raw<Route>(parse(location.hash));
  private depth = 0;

  constructor() {
    window.addEventListener("hashchange", () => (this.current = parse(location.hash)));
  }

  go(path: string): void {
    this.depth += 1;
    location.hash = path;
  }

  /** Replaces the present entry of the history. */
  replace(path: string): void {
    history.replaceState(null, "", `#${path}`);
    this.current = parse(location.hash);
  }

  back(): void {
    if (this.depth > 0) {
      this.depth -= 1;
      history.back();
    } else {
      this.replace("/");
    }
  }
}

export const router = new Router();
