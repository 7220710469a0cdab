/**
 * The script of the worker that holds a page's file of the origin private file system: a module with nothing to import, so that a
 * page that uses no bundler can name it, too.
 * @module
 */
import '@vmblock/block-core/opfs-worker'
