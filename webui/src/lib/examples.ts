/** Example prompts: the server's, or sentences in the words of the shipped model. */

import type { Vocabulary } from "./types";

const COLOURS = ["red", "blue", "green", "yellow", "orange", "purple", "white", "pink"];
const MOVERS = ["ball", "cube", "cylinder", "toy car"];
const STANDERS = ["cone", "cube", "cylinder", "pyramid"];

const any = <T>(items: T[]): T => items[Math.floor(Math.random() * items.length)]!;

function twoColours(): [string, string] {
  const first = any(COLOURS);
  return [first, any(COLOURS.filter((colour) => colour !== first))];
}

const PATTERNS: (() => string)[] = [
  () => `A ${any(COLOURS)} ${any(["ball", "cylinder"])} rolls to the ${any(["left", "right"])}.`,
  () => `A ${any(COLOURS)} ${any(MOVERS)} slides to the ${any(["left", "right"])}.`,
  () => `A ${any(COLOURS)} ball falls and bounces.`,
  () => {
    const [a, b] = twoColours();
    return `A ${a} ball rolls to the right and hits a ${b} cube.`;
  },
  () => {
    const [a, b] = twoColours();
    return `A ${a} ${any(STANDERS)} stands to the left of a ${b} ball.`;
  },
  () => {
    const [a, b] = twoColours();
    return `A ${a} ball rolls behind a ${b} wall.`;
  },
  () => `A ${any(COLOURS)} ball rolls down a ramp.`,
];

export function examples(vocabulary: Vocabulary | null, count: number): string[] {
  const given = vocabulary?.examples ?? [];
  if (given.length >= count) return [...given].sort(() => Math.random() - 0.5).slice(0, count);
  const made = new Set<string>();
  while (made.size < count) made.add(any(PATTERNS)());
  return [...made];
}
