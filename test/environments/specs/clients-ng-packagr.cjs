// Builds a library of Angular. Arguments: ng-packagr, the folder of the library.
const [, , packager, folder] = process.argv
// Only then does it keep no cache of what it has compiled before.
process.env.CI = 'true'

require(packager)
  .ngPackagr()
  .forProject(`${folder}/ng-package.json`)
  .build()
  .catch((error) => {
    console.error(error)
    process.exitCode = 1
  })
