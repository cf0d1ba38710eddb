// Bundles and minifies with a plugin. Arguments: webpack, the plugin, the source, the output.
const [, , tool, plugin, entry, output] = process.argv
const webpack = require(tool)
const Terser = require(plugin)

webpack(
  {
    mode: 'production',
    target: 'node',
    entry: { one: entry, two: entry },
    devtool: 'source-map',
    output: { path: output },
    optimization: { minimizer: [new Terser({ parallel: 2 })] },
  },
  (error, stats) => {
    if (error || stats.hasErrors()) {
      console.error(error ?? stats.toString())
      process.exitCode = 1
    }
  },
)
