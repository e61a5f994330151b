import { expect, test } from "vitest";
import { WordList } from "../../src/moderation/word-list.ts";

const finds = (entry: string, text: string): boolean => new WordList([entry]).isIn(text);

test.each([
  ["as it is written", "heron", "a heron at the pond"],
  ["in capitals", "heron", "A HERON!"],
  ["in full-width letters", "heron", "a ｈｅｒｏｎ at the pond"],
  ["in mathematical letters", "heron", "a 𝓱𝓮𝓻𝓸𝓷"],
  ["in circled letters", "heron", "a ⓗⓔⓡⓞⓝ"],
  ["with accents", "heron", "a hérön"],
  ["with marks over and through its letters", "heron", "a h\u0336e\u0301\u0302r\u0336o\u0336n\u20e0"],
  ["with characters that cannot be seen", "heron", "a he\u200br\u00ado\u2060n\ufe0f"],
  ["that is listed with an accent itself", "hérön", "a heron"],
  ["with letters that fold to two", "straße", "die STRASSE"],
  ["with a dotless i", "istanbul", "ISTANBUL ıstanbul İstanbul"],
  ["that ends in a final sigma", "ΟΔΟΣ", "η οδός"],
  ["between punctuation", "heron", "(heron)/crane"],
  ["of a ligature", "file", "the ﬁle"],
  ["of several words", "blue heron", "the Blue -- HERON!"],
  ["of several words on two lines", "blue heron", "blue\n  heron"],
  ["in a script without blanks", "苍鹭", "一只苍鹭在池塘"],
  ["with harmless words before it that begin alike", "blue heron pond", "blue heron blue heron pond"],
])("a word is found %s", (_, entry, text) => {
  expect(finds(entry, text)).toBe(true);
});

test.each([
  ["a part of a word", "art", "a party at the heart"],
  ["a phrase with another word in between", "blue heron", "a blue, tall heron"],
  ["the beginning of a phrase only", "blue heron", "something blue"],
  ["another letter of Japanese that differs by its mark", "か", "が"],
  ["other characters of a script without blanks", "苍鹭", "苍老的白鹭"],
  ["nothing", "heron", ""],
])("%s is not found", (_, entry, text) => {
  expect(finds(entry, text)).toBe(false);
});

test("a long prompt is read within milliseconds, however many words are listed and however alike they are", () => {
  const list = new WordList(Array.from({ length: 10_000 }, (_, i) => `a a a a a a a a word${i}`));
  const prompt = "a ".repeat(2000);
  list.isIn(prompt);
  const before = process.cpuUsage();
  for (let i = 0; i < 20; i++) expect(list.isIn(prompt)).toBe(false);
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 20 / 1000).toBeLessThan(20);
});
