/** Short messages at the bottom of the page, some with an action. */

export interface Toast {
  id: number;
  text: string;
  kind: "info" | "error";
  action?: { label: string; run: () => void };
}

const LIFETIME_MS = 9000;

class Toasts {
  items = $state.raw<Toast[]>([]);
  private next = 0;

  show(text: string, options: { kind?: Toast["kind"]; action?: Toast["action"] } = {}): void {
    const toast: Toast = { id: this.next++, text, kind: options.kind ?? "info", action: options.action };
    this.items = [...this.items.filter((item) => item.text !== text).slice(-2), toast];
    setTimeout(() => this.dismiss(toast.id), LIFETIME_MS);
  }

  error(text: string): void {
    this.show(text, { kind: "error" });
  }

  /** Runs the action of the newest toast that has one; false if none has. */
  undo(): boolean {
    const toast = this.items.findLast((item) => item.action);
    if (!toast) return false;
    toast.action!.run();
    this.dismiss(toast.id);
    return true;
  }

  dismiss(id: number): void {
    this.items = this.items.filter((item) => item.id !== id);
  }
}

export const toasts = new Toasts();
