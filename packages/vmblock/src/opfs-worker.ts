/**
 * The script of the worker that holds a page's file of the origin private file system: a module without
 * imports, so that pages without a bundler can use it, too.
 * @module
 */
import '@vmblock/block-core/opfs-worker'
