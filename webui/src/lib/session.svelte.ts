/** The connection to the server: the model it serves, whether it answers, whether it wants a key. */

import { api, ApiError, signIn } from "./api";
import { t } from "./texts";
import { toasts } from "./toasts.svelte";
import type { ModelInfo, Vocabulary } from "./types";

type State = "connecting" | "starting" | "ready" | "lost" | "key";

const RETRY_MS = [300, 600, 1000, 1500, 2500];

class Session {
  state = $state<State>("connecting");
  model = $state.raw<ModelInfo | null>(null);
  vocabulary = $state.raw<Vocabulary | null>(null);
  keyRejected = $state(false);
  private connecting = false;
  private readonly waiting: (() => void)[] = [];

  /** Called whenever the server answers (again). */
  onReady: () => void = () => undefined;

  async connect(): Promise<void> {
    if (this.connecting) return;
    this.connecting = true;
    for (let attempt = 0; ; attempt++) {
      try {
        this.model = await api.model();
        break;
      } catch (error) {
        if (error instanceof ApiError && error.isUnauthorized) {
          this.keyRejected = this.state !== "connecting";
          this.state = "key";
          this.connecting = false;
          return;
        }
        const starting = error instanceof ApiError && error.status === 503;
        if (attempt > 0 || this.state !== "connecting") this.state = starting ? "starting" : "lost";
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]));
      }
    }
    const wasLost = this.state === "lost";
    this.connecting = false;
    this.state = "ready";
    if (wasLost) toasts.show(t.connection.back);
    this.onReady();
    for (const resume of this.waiting.splice(0)) resume();
    this.vocabulary ??= await api.vocabulary(this.model.name).catch(() => null);
  }

  /** Resolves when the server answers and takes the key. */
  ready(): Promise<void> {
    if (this.state === "ready") return Promise.resolve();
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  /** Notes what an error says about the connection; true if the call can be repeated after `ready`. */
  note(error: unknown): boolean {
    if (!(error instanceof ApiError)) return false;
    if (error.isUnauthorized) {
      this.keyRejected = this.state === "ready";
      this.state = "key";
      return true;
    }
    if (!error.isConnection) return false;
    if (this.state === "ready") this.state = error.status === 503 ? "starting" : "lost";
    void this.connect();
    return true;
  }

  /** Runs a call, and again when the connection or the key is back. */
  async persist<T>(call: () => Promise<T>): Promise<T> {
    while (true) {
      try {
        return await call();
      } catch (error) {
        if (!this.note(error)) throw error;
        await this.ready();
      }
    }
  }

  /** False if the server does not accept the key. Asks until the model is known: without it nothing can be sent. */
  async enterKey(key: string): Promise<boolean> {
    try {
      await signIn(key);
    } catch (error) {
      if (error instanceof ApiError && error.isUnauthorized) return false;
      if (!this.note(error)) throw error;
      return true;
    }
    await this.connect();
    return true;
  }
}

export const session = new Session();
