/**
 * Words and phrases that texts must not have. Both are compared as people read them: full-width and other compatibility forms
 * are the usual letters (NFKC), case and accents do not matter, and characters that cannot be seen are not there. Only whole
 * words count: "art" is not in "party". Scripts that put no blanks between words are compared character by character.
 */

/** Marks that are put over or under letters of any script; those that belong to the letters of one script stay. */
const ACCENTS = /[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]/gu;
/** Joiners, soft hyphens, fillers, variation selectors, marks of direction. */
const INVISIBLE = /[\p{Default_Ignorable_Code_Point}\p{Cf}]/gu;
const UNSPACED =
  "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Thai}\\p{Script=Lao}\\p{Script=Khmer}\\p{Script=Myanmar}";
const WORD = new RegExp(`[${UNSPACED}]|(?:(?![${UNSPACED}])[\\p{L}\\p{M}\\p{N}])+`, "gu");

/** The words of a text, in the one form in which they are compared. */
export function wordsOf(text: string): readonly string[] {
  // Upper case first: it takes "ß" apart, and makes one of "σ" and "ς", as full case folding does.
  const folded = text.normalize("NFKD").replace(INVISIBLE, "").toUpperCase().toLowerCase().replaceAll("ς", "σ");
  return folded.normalize("NFKD").replace(ACCENTS, "").normalize("NFKC").match(WORD) ?? [];
}

/** Phrases that begin alike share their beginning. */
interface Node {
  /** Most are the last of their phrase, and have none. */
  next?: Map<string, Node>;
  /** A phrase ends here. */
  isEnd: boolean;
}

const newNode = (): Node => ({ isEnd: false });

export class WordList {
  private readonly root = newNode();

  /** @param entries words or phrases; blanks and punctuation between words do not matter */
  constructor(entries: readonly string[]) {
    for (const entry of entries) {
      let node = this.root;
      for (const word of wordsOf(entry)) {
        node.next ??= new Map();
        const next: Node = node.next.get(word) ?? newNode();
        node.next.set(word, next);
        node = next;
      }
      if (node !== this.root) node.isEnd = true;
    }
  }

  /** Whether a text has one of the words or phrases. How long it takes depends on the text, not on the length of the list. */
  isIn(text: string): boolean {
    const words = wordsOf(text);
    return words.some((_, start) => this.beginsAt(words, start));
  }

  private beginsAt(words: readonly string[], start: number): boolean {
    let node: Node | undefined = this.root;
    for (let place = start; node !== undefined; place++) {
      if (node.isEnd) return true;
      node = node.next?.get(words[place] ?? "");
    }
    return false;
  }
}
