/* 512-bit vectors, FMA, 32 registers. */
#if defined(__x86_64__)
#define ISA          avx512
#define TARGET       "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,tune=haswell"
#define VECTOR_BYTES 64
#define X86_PREFIX   _mm512
#define TILE_ROWS    6
#define TILE_VECTORS 4
#define K_IN_PAIRS   0
#define DEPTH        (32768 / VECTOR_BYTES) /* a panel of a pass: 128 KB of the second-level cache */
#define BAND_BYTES   (1 << 19)              /* half of it, where it has 1 MB */
#endif
