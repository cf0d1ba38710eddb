// Corelane entry: the types of dist/corelane-entry.cjs, which scripts/bundle.mjs makes.
// Thread: main.   Owns: nothing.

/** The program of threads as text: a script that needs no file. */
export declare const ENTRY_TEXT: string
/** The same object, where a bundler makes an ES module of it. */
declare const exported: { readonly ENTRY_TEXT: string } | undefined

export { exported as default }
