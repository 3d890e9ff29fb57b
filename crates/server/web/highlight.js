/** Words, strings, numbers and comments of a program, told apart well enough to read it. */

const WORDS = {
  c: `auto break case catch class const constexpr continue default delete do double else enum
    explicit extern false final float for friend goto if inline int long namespace new nullptr
    operator override private protected public return short signed sizeof static struct switch
    template this throw true try typedef typename union unsigned using virtual void volatile while
    bool char NULL size_t abstract boolean byte extends finally implements import instanceof
    interface native null package super synchronized throws transient var record fun val when
    internal foreach in is string decimal async await func defer go map chan select range type
    fallthrough let guard protocol extension where`,
  javascript: `abstract any as async await boolean break case catch class const continue debugger
    declare default delete do else enum export extends false finally for from function get if
    implements import in instanceof interface keyof let namespace new null number of private
    protected public readonly return set static string super switch this throw true try type
    typeof undefined unknown var void while with yield`,
  python: `False None True and as assert async await break case class continue def del elif else
    except finally for from global if import in is lambda match nonlocal not or pass raise return
    self try while with yield`,
  rust: `as async await break const continue crate dyn else enum extern false fn for if impl in let
    loop match mod move mut pub ref return self Self static struct super trait true type unsafe use
    where while bool char f32 f64 i8 i16 i32 i64 i128 isize str u8 u16 u32 u64 u128 usize String
    Vec Option Some None Result Ok Err Box`,
  shell: `case do done elif else esac export fi for function if in local return set shift then
    unset until while echo cd source sudo`,
  sql: `add all alter and as asc begin between by case commit constraint create cross default
    delete desc distinct drop else end exists foreign from full group having if in index inner
    insert into is join key left like limit not null on or order outer primary references right
    rollback select set table then union unique update values view when where with`,
  json: "true false null",
  ruby: `begin class def do else elsif end ensure false for if in module nil not or require rescue
    return self super then true unless until when while yield local function repeat`,
};

const SAME = {
  "c++": "c", cpp: "c", cc: "c", h: "c", hpp: "c", cs: "c", csharp: "c", java: "c", kotlin: "c",
  go: "c", swift: "c", php: "c", js: "javascript", jsx: "javascript", ts: "javascript",
  tsx: "javascript", typescript: "javascript", mjs: "javascript", py: "python", rs: "rust",
  sh: "shell", bash: "shell", zsh: "shell", console: "shell", yaml: "json", yml: "json",
  toml: "json", rb: "ruby", lua: "ruby", jsonc: "json", python3: "python",
};

const HASH = /^(?:python|shell|json|ruby)$/;
const STRING = String.raw`"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?`;
const NUMBER = String.raw`\b(?:0[xXbBoO][\da-fA-F_]+|\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)\w*`;

const patterns = new Map();

/**
 * Pieces of `text`, each of a class: `word`, `string`, `number`, `comment`, `call`, or none.
 *
 * @param {string} text
 * @param {string} language as in the fence; unknown ones stay whole
 * @returns {[string | null, string][]}
 */
export function highlight(text, language) {
  const name = language.toLowerCase();
  const family = SAME[name] ?? name;
  if (!Object.hasOwn(WORDS, family)) {
    return [[null, text]];
  }
  const pieces = [];
  let at = 0;
  for (const found of text.matchAll(patternOf(family))) {
    if (found.index > at) {
      pieces.push([null, text.slice(at, found.index)]);
    }
    const kinds = Object.entries(found.groups).filter(([, piece]) => piece !== undefined);
    pieces.push([kinds[0][0], found[0]]);
    at = found.index + found[0].length;
  }
  pieces.push([null, text.slice(at)]);
  return pieces;
}

function patternOf(family) {
  const known = patterns.get(family);
  if (known) {
    return known;
  }
  const words = WORDS[family].split(/\s+/).join("|");
  const comment = HASH.test(family)
    ? String.raw`(?<![\w$])#[^\n]*`
    : String.raw`${family === "sql" ? "--" : "//"}[^\n]*|/\*[^]*?(?:\*/|$)`;
  const long = family === "python" ? String.raw`"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)|` : "";
  // A lifetime is no string.
  const strings = family === "rust"
    ? String.raw`"(?:\\.|[^"\\])*"?|'(?:\\.[^'\n]{0,8}|[^'\\\n])'`
    : family === "javascript" ? `${STRING}|\`(?:\\\\.|[^\`\\\\])*\`?` : STRING;
  const source = [
    `(?<comment>${comment})`,
    `(?<string>${long}${strings})`,
    `(?<number>${NUMBER})`,
    String.raw`(?<word>\b(?:${words})\b)`,
    String.raw`(?<call>\b[A-Za-z_]\w*(?=\())`,
  ].join("|");
  const pattern = new RegExp(source, family === "sql" ? "gi" : "g");
  patterns.set(family, pattern);
  return pattern;
}
