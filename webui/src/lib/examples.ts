/** Example prompts: the server's, or sentences in the words of the shipped model. */

import type { Vocabulary } from "./types";

const COLOURS = ["red", "blue", "green", "yellow", "orange", "purple", "white", "pink"];
const MOVERS = ["ball", "cube", "cylinder", "toy car"];
const STANDERS = ["cone", "cube", "cylinder", "pyramid"];

const any = <T>(items: T[]): T => items[Math.floor(Math.random() * items.length)]!;
const some = (words: string) => `${/^[aeiou]/.test(words) ? "an" : "a"} ${words}`;
const sentence = (text: string) => text[0]!.toUpperCase() + text.slice(1);

function twoColours(): [string, string] {
  const first = any(COLOURS);
  return [first, any(COLOURS.filter((colour) => colour !== first))];
}

const PATTERNS: (() => string)[] = [
  () => `${some(any(COLOURS))} ${any(["ball", "cylinder"])} rolls to the ${any(["left", "right"])}.`,
  () => `${some(any(COLOURS))} ${any(MOVERS)} slides to the ${any(["left", "right"])}.`,
  () => `${some(any(COLOURS))} ball falls and bounces.`,
  () => {
    const [a, b] = twoColours();
    return `${some(a)} ball rolls to the right and hits ${some(b)} cube.`;
  },
  () => {
    const [a, b] = twoColours();
    return `${some(a)} ${any(STANDERS)} stands to the left of ${some(b)} ball.`;
  },
  () => {
    const [a, b] = twoColours();
    return `${some(a)} ball rolls behind ${some(b)} wall.`;
  },
  () => `${some(any(COLOURS))} ball rolls down a ramp.`,
];

export function examples(vocabulary: Vocabulary | null, count: number): string[] {
  const given = vocabulary?.examples ?? [];
  if (given.length >= count) return [...given].sort(() => Math.random() - 0.5).slice(0, count);
  const made = new Set<string>();
  while (made.size < count) made.add(sentence(any(PATTERNS)()));
  return [...made];
}
