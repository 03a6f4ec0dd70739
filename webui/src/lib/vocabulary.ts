/** Words of a prompt that the model has not learned, and words that it has. */

import type { Vocabulary } from "./types";

export interface UnknownWord {
  word: string;
  nearest: string[];
}

function words(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}]+(?:['’-][\p{L}]+)*/gu) ?? [];
}

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/**
 * The last word is left out while it is being typed.
 * @param typing whether the text may end within a word
 */
export function unknownWords(text: string, vocabulary: Vocabulary | null, typing: boolean): UnknownWord[] {
  if (!vocabulary?.words?.length) return [];
  const known = new Set(vocabulary.words);
  const found = words(text);
  if (typing && /\p{L}$/u.test(text)) found.pop();
  return [...new Set(found)]
    .filter((word) => !known.has(word) && !word.split(/['’-]/).every((part) => known.has(part)))
    .map((word) => ({ word, nearest: nearest(word, vocabulary.words!) }));
}

function nearest(word: string, known: string[]): string[] {
  const limit = Math.max(1, Math.floor(word.length / 3));
  return known
    .map((other) => ({ other, far: distance(word, other) }))
    .filter(({ far }) => far <= limit)
    .sort((a, b) => a.far - b.far)
    .slice(0, 2)
    .map(({ other }) => other);
}
