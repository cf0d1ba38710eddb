// A server that answers from a pool. Arguments: fastify, the plugin, the module.
const [, , tool, plugin, filename] = process.argv
const fastify = require(tool)

async function run() {
  const app = fastify()
  await app.register(require(plugin), { filename })
  app.post('/', async ({ body }, reply) => {
    reply.send({ sum: await app.runTask(body) })
  })
  const answers = []
  for (let a = 0; a < 5; a++) {
    const { body } = await app.inject({ method: 'POST', url: '/', payload: { a, b: 10 } })
    answers.push(body)
  }
  console.log(JSON.stringify([answers, app.piscina.completed]))
  await app.close()
  await app.piscina.destroy()
}

void run()
