/** Example prompts: the server's, and sentences in the words that the model knows. */

import type { Vocabulary } from "./types";
import { unknownWords } from "./vocabulary";

const MAX_TRIES = 200;

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
    return `${some(a)} ball rolls behind ${some(b)} screen.`;
  },
  () => `${some(any(COLOURS))} ball rolls away from the camera.`,
];

export function examples(vocabulary: Vocabulary | null, count: number): string[] {
  const made = new Set((vocabulary?.examples ?? []).map(sentence).sort(() => Math.random() - 0.5).slice(0, count / 2));
  for (let tries = 0; made.size < count && tries < MAX_TRIES; tries++) {
    const prompt = sentence(any(PATTERNS)());
    if (!unknownWords(prompt, vocabulary, false).length) made.add(prompt);
  }
  return [...made];
}
