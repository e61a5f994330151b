/** What picture files begin with: what does not begin so never meets a decoder. */

/** Text at a position. */
type Mark = readonly [offset: number, text: string];

/** All marks of a row must be there. AVIF is one of several formats in an ISO media file, which names it as its brand. */
const FORMATS: readonly (readonly Mark[])[] = [
  [[0, "\xff\xd8\xff"]], // JPEG
  [[0, "\x89PNG\r\n\x1a\n"]],
  [
    [0, "RIFF"],
    [8, "WEBP"],
  ],
  [[0, "GIF87a"]],
  [[0, "GIF89a"]],
  [[0, "II*\0"]], // TIFF, little-endian
  [[0, "MM\0*"]], // TIFF, big-endian
  [[4, "ftypavif"]],
  [[4, "ftypavis"]],
  [[4, "ftypmif1"]],
];

/** Whether a file begins like a JPEG, PNG, WebP, GIF, TIFF or AVIF. */
export function isKnownPicture(bytes: Uint8Array): boolean {
  const start = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 16)).toString("latin1");
  return FORMATS.some((marks) => marks.every(([offset, text]) => start.startsWith(text, offset)));
}
