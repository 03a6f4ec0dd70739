/** Rows of a wall: tiles of one height that fill the width. */

export interface Cell {
  index: number;
  left: number;
  width: number;
}

export interface Row {
  top: number;
  height: number;
  cells: Cell[];
}

export interface Layout {
  rows: Row[];
  height: number;
}

/**
 * @param aspects width over height of each tile
 * @param width of the wall in pixels
 * @param target height of a row
 * @param gap between tiles
 */
export function layoutRows(aspects: number[], width: number, target: number, gap: number): Layout {
  const rows: Row[] = [];
  let top = 0;
  let start = 0;
  let sum = 0;
  const close = (end: number, height: number) => {
    let left = 0;
    const cells: Cell[] = [];
    for (let index = start; index < end; index++) {
      const cellWidth = aspects[index]! * height;
      cells.push({ index, left, width: cellWidth });
      left += cellWidth + gap;
    }
    rows.push({ top, height, cells });
    top += height + gap;
    start = end;
    sum = 0;
  };
  for (let index = 0; index < aspects.length; index++) {
    sum += aspects[index]!;
    const count = index - start + 1;
    const height = (width - gap * (count - 1)) / sum;
    if (height <= target) close(index + 1, height);
  }
  if (start < aspects.length) close(aspects.length, Math.min(target, width / sum));
  return { rows, height: Math.max(0, top - gap) };
}

/** The rows that overlap a range, as first and behind the last. */
export function rowsBetween(rows: Row[], from: number, to: number): [number, number] {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle]!.top + rows[middle]!.height < from) low = middle + 1;
    else high = middle;
  }
  let end = low;
  while (end < rows.length && rows[end]!.top <= to) end++;
  return [low, end];
}
