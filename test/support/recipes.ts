// Recipes: the code of a page, as files to write and lines to run, by section.

/** A section of a page. */
export interface Recipe {
  readonly title: string
  /** Name and text of each block that opens with `// name`. */
  readonly files: readonly (readonly [string, string])[]
  /** Lines of its shell blocks. */
  readonly lines: readonly string[]
}

function readSection(title: string, body: string): Recipe {
  const files: [string, string][] = []
  const lines: string[] = []
  for (const [, language, code] of body.matchAll(/^```(\w+)\n([\s\S]*?)^```/gm)) {
    const [, name] = /^\/\/ (\S+\.\w+)$/m.exec(code!.split('\n', 1)[0]!) ?? []
    if (name !== undefined) files.push([name, code!])
    else if (language === 'sh') lines.push(...code!.trim().split('\n'))
  }
  return { title, files, lines }
}

/**
 * Reads a page.
 *
 * @param markdown - Its text.
 * @returns The files above its first section, which all recipes share, and the recipes.
 */
export function readRecipes(markdown: string): { files: Recipe['files']; recipes: Recipe[] } {
  const [top, ...sections] = markdown.split(/^## /m)
  const recipes = sections.map((section) => {
    const [title] = section.split('\n', 1)
    return readSection(title!, section)
  })
  return { files: readSection('', top!).files, recipes }
}
