/** Archives as POSIX.1-1988 says (ustar), written piece by piece. */
const BLOCK = 512;

/** Two empty blocks. */
export const TAR_END = Buffer.alloc(2 * BLOCK);

/** A file of an archive. @param name at most 100 bytes of ASCII, with "/" between folders */
export function tarEntry(name: string, bytes: Uint8Array, modifiedAt: Date): Buffer {
  const header = Buffer.alloc(BLOCK);
  const octal = (value: number, digits: number): string => `${value.toString(8).padStart(digits, "0")}\0`;
  const seconds = Math.floor(modifiedAt.getTime() / 1000);
  header.write(name, 0, 100, "ascii");
  header.write(octal(0o600, 7), 100);
  header.write(octal(0, 7), 108); // owner
  header.write(octal(0, 7), 116); // group
  header.write(octal(bytes.length, 11), 124);
  header.write(octal(seconds, 11), 136);
  header.write(" ".repeat(8), 148); // the checksum counts as blanks
  header.write("0", 156); // a regular file
  header.write("ustar\x0000", 257);
  const checksum = header.reduce((sum, byte) => sum + byte, 0);
  header.write(`${checksum.toString(8).padStart(6, "0")}\0 `, 148);
  const padding = Buffer.alloc((BLOCK - (bytes.length % BLOCK)) % BLOCK);
  return Buffer.concat([header, bytes, padding]);
}
