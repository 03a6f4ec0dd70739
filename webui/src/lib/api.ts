/** The HTTP API: requests, errors as one type, server-sent events. */

import { t } from "./texts";
import type { Estimate, LiveChange, LiveVideo, ModelInfo, Video, VideoCheck, VideoPage, Vocabulary } from "./types";

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code: string | null = null,
    readonly param: string | null = null,
    readonly retryAfterMs: number | null = null,
  ) {
    super(message);
  }

  /** Whether the server could not be reached, or is starting or stopping. */
  get isConnection(): boolean {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504;
  }

  get isUnauthorized(): boolean {
    return this.status === 401;
  }
}

const SIGNED_IN = "kinema-signed-in";

/** Whether a key was entered in this browser; the server may have forgotten it since. */
export function isSignedIn(): boolean {
  return localStorage.getItem(SIGNED_IN) !== null;
}

/** Exchanges the key for a cookie, which videos and images are fetched with, and which scripts can't read. */
export async function signIn(key: string): Promise<void> {
  await request("/studio/session", { method: "POST", headers: { authorization: `Bearer ${key}` } });
  localStorage.setItem(SIGNED_IN, "1");
}

export async function signOut(): Promise<void> {
  localStorage.removeItem(SIGNED_IN);
  await request("/studio/session", { method: "DELETE" });
}

export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError(0, t.errors.unreachable);
  }
  if (!response.ok) throw await toError(response);
  return response;
}

async function toError(response: Response): Promise<ApiError> {
  const retry = Number(response.headers.get("retry-after-ms"));
  const retryAfterMs = Number.isFinite(retry) && retry > 0 ? retry : null;
  try {
    const { error } = (await response.json()) as {
      error: { message: string; code: string | null; param: string | null };
    };
    return new ApiError(response.status, error.message, error.code, error.param, retryAfterMs);
  } catch {
    return new ApiError(response.status, t.errors.noMessage(response.status), null, null, retryAfterMs);
  }
}

async function json<T>(method: string, path: string, body?: unknown, headers: HeadersInit = {}): Promise<T> {
  const init: RequestInit = { method, headers };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { ...headers, "content-type": "application/json" };
  }
  return (await (await request(path, init)).json()) as T;
}

/** A new request: the path below /v1/videos and its body. */
export interface Submission {
  path: string;
  body: Record<string, unknown>;
}

export const api = {
  async model(): Promise<ModelInfo> {
    const models = await json<{ data: { kinema: ModelInfo }[] }>("GET", "/v1/models");
    const first = models.data[0];
    if (!first) throw new ApiError(503, t.errors.noModel);
    return first.kinema;
  },

  /** Words and example prompts of the model; null on a server that does not tell them. */
  async vocabulary(model: string): Promise<Vocabulary | null> {
    try {
      return await json<Vocabulary>("GET", `/v1/models/${encodeURIComponent(model)}/vocabulary`);
    } catch (error) {
      if (error instanceof ApiError && (error.status === 404 || error.status === 405)) return null;
      throw error;
    }
  },

  list: (after: string | null, limit: number) =>
    json<VideoPage>("GET", `/v1/videos?limit=${limit}${after ? `&after=${after}` : ""}`),
  retrieve: (id: string) => json<Video>("GET", `/v1/videos/${id}`),
  submit: (submission: Submission, idempotencyKey: string) =>
    json<Video>("POST", `/v1/videos${submission.path}`, submission.body, { "idempotency-key": idempotencyKey }),
  estimate: (body: Record<string, unknown>) => json<Estimate>("POST", "/v1/videos/estimate", body),
  check: (id: string) => json<VideoCheck>("GET", `/v1/videos/${id}/check`),
  cancel: (id: string) => json<Video>("POST", `/v1/videos/${id}/cancel`),
  remove: (id: string) => json<unknown>("DELETE", `/v1/videos/${id}`),
  restore: (id: string) => json<Video>("POST", `/v1/videos/${id}/restore`),
  update: (id: string, changes: { favorite?: boolean; folder?: string | null }) =>
    json<Video>("PATCH", `/v1/videos/${id}`, changes),
  live: {
    list: () => json<{ data: LiveVideo[] }>("GET", "/v1/live"),
    create: (body: { prompt: string }) => json<LiveVideo>("POST", "/v1/live", body),
    change: (id: string, change: LiveChange) => json<LiveVideo>("PATCH", `/v1/live/${id}`, change),
    end: (id: string) => json<LiveVideo>("DELETE", `/v1/live/${id}`),
    save: (id: string, part: { branch: number }) => json<Video>("POST", `/v1/live/${id}/save`, part),
  },
};

export interface ServerEvent {
  name: string;
  data: unknown;
}

/** Events of a stream until it ends. */
export async function* events(path: string, signal: AbortSignal): AsyncGenerator<ServerEvent> {
  const response = await request(path, { headers: { accept: "text/event-stream" }, signal });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    while (true) {
      const { value, done } = await reader.read();
      if (done) return;
      buffer += value;
      const blocks = buffer.split("\n\n");
      buffer = blocks.pop()!;
      for (const block of blocks) {
        let name = "message";
        let data = "";
        for (const line of block.split("\n")) {
          if (line.startsWith("event: ")) name = line.slice(7);
          else if (line.startsWith("data: ")) data += line.slice(6);
        }
        if (data) yield { name, data: JSON.parse(data) };
      }
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
