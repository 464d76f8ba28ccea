package filehash

// BlockSize lets tests use sizes around the block's.
const BlockSize = blockSize
