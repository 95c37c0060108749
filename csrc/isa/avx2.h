/* 256-bit vectors, FMA, 16 registers. */
#if defined(__x86_64__)
#define ISA          avx2
#define TARGET       "avx2,fma,tune=haswell"
#define VECTOR_BYTES 32
#define X86_PREFIX   _mm256
#define TILE_ROWS    3
#endif
