/** FNV-1a: the same picture for the same id, everywhere. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (const letter of text) {
    value ^= letter.codePointAt(0) as number;
    value = Math.imul(value, 0x01000193);
  }
  value ^= value >>> 15;
  return Math.imul(value, 0x2c1b3c6d) >>> 0;
}

export interface IdenticonProps {
  /** Whose. */
  id: string;
  /** A picture of their own wins. */
  image?: string | null;
  /** In CSS pixels. */
  size?: number;
}

/** A picture of an id: five by five, mirrored. Names stand beside it, so it is nothing to a screen reader. */
export function Identicon({ id, image, size = 36 }: IdenticonProps) {
  if (image) return <img className="bt-identicon" src={image} alt="" width={size} height={size} />;
  const bits = hash(id);
  const hue = bits % 360;
  const cells: string[] = [];
  for (let column = 0; column < 3; column += 1) {
    for (let row = 0; row < 5; row += 1) {
      if (((bits >>> (column * 5 + row)) & 1) === 0) continue;
      cells.push(`M${column + 1} ${row + 1}h1v1h-1z`);
      if (column < 2) cells.push(`M${5 - column} ${row + 1}h1v1h-1z`);
    }
  }
  return (
    <svg className="bt-identicon" viewBox="0 0 7 7" width={size} height={size} aria-hidden="true" focusable="false">
      <rect width="7" height="7" fill={`hsl(${hue} 45% 90%)`} />
      <path d={cells.join('')} fill={`hsl(${hue} 50% 42%)`} />
    </svg>
  );
}
