/* 256-bit vectors, FMA, 16 registers: with 2 vectors of weights and a splat 12 sums fit. Of their
 * shapes 6 x 2 has the fewest loads for its multiply-adds that halves of a panel allow. */
#if defined(__x86_64__)
#define ISA          avx2
#define TARGET       "avx2,fma,tune=haswell"
#define VECTOR_BYTES 32
#define X86_PREFIX   _mm256
#define TILE_ROWS    6
#define TILE_VECTORS 2
#define K_IN_PAIRS   1 /* a loop of two k: fewer instructions, which a shared core is short of */
/* Of weights a pass reads half a panel, 16 KB, again and again: half a first-level cache. */
#define DEPTH      (8192 / VECTOR_BYTES)
#define BAND_BYTES (1 << 17) /* of a second-level cache of 256 or 512 KB */
#endif
