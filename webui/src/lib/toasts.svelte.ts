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

  dismiss(id: number): void {
    this.items = this.items.filter((item) => item.id !== id);
  }

  dismissText(text: string): void {
    this.items = this.items.filter((item) => item.text !== text);
  }
}

export const toasts = new Toasts();
