/** Images of the user, scaled down and as PNG data URLs: the form in which the API takes them. */

import { ApiError } from "./api";
import { t } from "./texts";

const MAX_SIDE = 1024;

export async function readImage(file: Blob): Promise<string> {
  if (!file.type.startsWith("image/")) throw new ApiError(400, t.errors.notAnImage);
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new ApiError(400, t.errors.unreadableImage);
  }
  const scale = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d")!.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas.toDataURL("image/png");
}

export function imageFrom(transfer: DataTransfer | null): File | null {
  for (const file of transfer?.files ?? []) if (file.type.startsWith("image/")) return file;
  return null;
}
