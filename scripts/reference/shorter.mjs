// Shorter: keeps the reference to what a reader needs. A name that stands for one of several texts
// is written as these texts; a member is described in the class that declares it, and errors of the
// project do not repeat those of `Error`. A property that is a number or may be absent says its unit
// and what its absence means; the names of others may be enough.
// @ts-check

import { Application, Converter, LiteralType, ReflectionKind, UnionType } from 'typedoc'
import { ModuleRouter } from 'typedoc-plugin-markdown'

/** @typedef {import('typedoc').DeclarationReflection} DeclarationReflection */

/** Gives each heading one anchor. The generator's own router counts a second one of each member. */
class HeadingRouter extends ModuleRouter {
  /**
   * @param {DeclarationReflection} target
   * @param {DeclarationReflection} page
   */
  buildAnchors(target, page) {
    if (page.kindOf(ReflectionKind.Module) && target.parent !== page) return
    super.buildAnchors(target, page)
  }
}

/** @param {import('typedoc').Application} app */
export function load(app) {
  app.renderer.defineRouter('headings', HeadingRouter)
  /** @type {Map<DeclarationReflection, string[]>} */
  const texts = new Map()
  app.converter.on(Converter.EVENT_CREATE_DECLARATION, (context, one) => {
    const symbol = context.getSymbolFromReflection(one)
    if (!one.kindOf(ReflectionKind.TypeAlias) || symbol === undefined) return
    const type = context.checker.getDeclaredTypeOfSymbol(symbol)
    const all = type.isUnion() ? type.types : []
    const values = all.flatMap((text) => (text.isStringLiteral() ? [text.value] : []))
    if (values.length > 0 && values.length === all.length) texts.set(one, values)
  })
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, () => {
    for (const [alias, values] of texts) {
      alias.type = new UnionType(values.map((value) => new LiteralType(value)))
    }
  })
  app.converter.on(Converter.EVENT_RESOLVE_END, ({ project }) => {
    for (const one of project.getReflectionsByKind(ReflectionKind.ClassMember)) {
      const from = /** @type {DeclarationReflection} */ (one).inheritedFrom
      if (from?.reflection !== undefined && one.parent?.kindOf(ReflectionKind.Class)) {
        project.removeReflection(one)
      }
    }
  })
  app.on(Application.EVENT_VALIDATE_PROJECT, (project) => {
    for (const each of project.getReflectionsByKind(ReflectionKind.Property)) {
      const one = /** @type {DeclarationReflection} */ (each)
      const isNamed = one.parent?.kindOf([ReflectionKind.Interface, ReflectionKind.Class])
      if (!isNamed || one.hasComment() || one.overwrites !== undefined) continue
      if (one.flags.isOptional || /\b(number|undefined)\b/.test(`${one.type}`)) {
        app.logger.warn(`${one.getFullName()} needs its unit, default or absence in a comment`)
      }
    }
  })
}
