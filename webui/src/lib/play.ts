/** Plays a video. The browser may refuse, while another file is loaded or before a first click: no fault. */
export function play(element: HTMLMediaElement): void {
  element.play().catch(() => undefined);
}
