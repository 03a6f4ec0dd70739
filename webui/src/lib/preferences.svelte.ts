/** Choices that stay in this browser: colours, and whether all videos in view play. */

export type Theme = "system" | "dark" | "light";

const THEME = "kinema-theme";
const AUTOPLAY = "kinema-autoplay";

class Preferences {
  theme = $state<Theme>((localStorage.getItem(THEME) as Theme | null) ?? "system");
  /** Without a pointer that can hover, the videos in view play. */
  autoplay = $state(
    localStorage.getItem(AUTOPLAY)
      ? localStorage.getItem(AUTOPLAY) === "true"
      : !matchMedia("(hover: hover)").matches && !matchMedia("(prefers-reduced-motion: reduce)").matches,
  );
  private systemDark = $state(matchMedia("(prefers-color-scheme: dark)").matches);
  dark = $derived(this.theme === "system" ? this.systemDark : this.theme === "dark");

  constructor() {
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => (this.systemDark = event.matches));
  }

  nextTheme(): void {
    const themes: Theme[] = ["system", "dark", "light"];
    this.theme = themes[(themes.indexOf(this.theme) + 1) % themes.length]!;
    localStorage.setItem(THEME, this.theme);
  }

  toggleAutoplay(): void {
    this.autoplay = !this.autoplay;
    localStorage.setItem(AUTOPLAY, String(this.autoplay));
  }
}

export const preferences = new Preferences();
