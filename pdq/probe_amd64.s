//go:build !purego

#include "textflag.h"

// PROBE stores where bucket CX begins and ends as run number i of its slot, and
// fetches the first and last line of what is there.
#define PROBE(i) \
	MOVQ (R9)(CX*4), DX; \
	MOVQ DX, (i*8)(DI); \
	MOVL DX, BX; \
	SHRQ $32, DX; \
	PREFETCHT1 (R10)(BX*2); \
	PREFETCHT1 -2(R10)(DX*2); \
	SUBQ BX, AX; \
	ADDQ DX, AX

#define NEAR(bit) \
	MOVL R12, CX; \
	XORL $(1<<bit), CX; \
	PROBE((bit+1))

// func collectPrefetch(r *runs, bounds []uint32, next []uint16, q *Hash) (total int)
TEXT ·collectPrefetch(SB), NOSPLIT, $0-72
	MOVQ r+0(FP), DI
	MOVQ bounds_base+8(FP), R9
	MOVQ next_base+32(FP), R10
	MOVQ q+56(FP), SI
	XORL AX, AX
	XORL R11, R11 // slot

slot:
	MOVWLZX (SI)(R11*2), R12
	MOVL    R11, CX
	SHLL    $16, CX
	ORL     CX, R12
	MOVL    R12, CX
	PROBE(0)
	NEAR(0)
	NEAR(1)
	NEAR(2)
	NEAR(3)
	NEAR(4)
	NEAR(5)
	NEAR(6)
	NEAR(7)
	NEAR(8)
	NEAR(9)
	NEAR(10)
	NEAR(11)
	NEAR(12)
	NEAR(13)
	NEAR(14)
	NEAR(15)
	ADDQ $(17*8), DI
	INCQ R11
	CMPQ R11, $16
	JB   slot
	MOVQ AX, total+64(FP)
	RET

// func collectLong(r *runs, next []uint16)
TEXT ·collectLong(SB), NOSPLIT, $0-32
	MOVQ r+0(FP), DI
	MOVQ next_base+8(FP), R10
	LEAQ (272*8)(DI), R8

run:
	MOVL (DI), BX
	MOVL 4(DI), DX
	ADDQ $8, DI
	JMP  check

line:
	PREFETCHT1 (R10)(BX*2)

check:
	ADDQ $32, BX
	CMPQ BX, DX
	JB   line
	CMPQ DI, R8
	JB   run
	RET

// func fetchPrefetch(hashes []Hash, ids, candidates []uint32)
TEXT ·fetchPrefetch(SB), NOSPLIT, $0-72
	MOVQ hashes_base+0(FP), SI
	MOVQ ids_base+24(FP), R10
	MOVQ candidates_base+48(FP), DI
	MOVQ candidates_len+56(FP), R8
	LEAQ (DI)(R8*4), R8
	JMP  check

candidate:
	MOVL       (DI), CX
	ADDQ       $4, DI
	MOVL       (R10)(CX*4), CX
	SHLQ       $5, CX
	PREFETCHT0 (SI)(CX*1)

check:
	CMPQ DI, R8
	JB   candidate
	RET

// In both probe kernels: DI is where the next candidate goes, and R8 the last
// place with room for nextSpare of them; SI the next run, R9 next, R10 ids, R14 q,
// R11 the slot after, R12 how many runs of the slot are left of R13; BX the entry
// and DX how many of the run are left.

// func probeAVX512(candidates []uint32, r *runs, width int, next []uint16, ids []uint32, q *Hash, limit int) int
TEXT ·probeAVX512(SB), NOSPLIT, $0-112
	MOVQ         candidates_base+0(FP), DI
	MOVQ         candidates_len+8(FP), R8
	LEAQ         -128(DI)(R8*4), R8
	MOVQ         r+24(FP), SI
	MOVQ         width+32(FP), R13
	MOVQ         next_base+40(FP), R9
	MOVQ         ids_base+64(FP), R10
	MOVQ         q+88(FP), R14
	MOVQ         limit+96(FP), AX
	VPBROADCASTW AX, Z2
	DECL         AX
	VPBROADCASTW AX, Z3
	XORL         R11, R11

slot:
	INCQ         R11
	MOVL         R11, AX
	ANDL         $15, AX
	VPBROADCASTW (R14)(AX*2), Z0
	VMOVDQA64    Z2, Z4
	MOVQ         R13, R12

run:
	MOVL (SI), BX
	MOVL 4(SI), DX
	ADDQ $8, SI
	MOVQ DX, CX
	SUBQ BX, CX
	JZ   next
	CMPQ CX, $32
	JA   long

	// A run within one cache line is read as that line, because a vector from
	// its beginning would also wait for the line after, which nobody fetched.
	MOVL    $1, R15
	SHLQ    CX, R15
	DECQ    R15
	DECQ    DX
	XORQ    BX, DX
	MOVQ    BX, CX
	ANDQ    $31, CX
	XORL    AX, AX
	CMPQ    DX, $32
	CMOVQCC AX, CX
	SUBQ    CX, BX
	SHLQ    CX, R15
	XORL    DX, DX

	VPXORD   (R9)(BX*2), Z0, Z1
	VPOPCNTW Z1, Z1
	VPCMPUW  $2, Z4, Z1, K1
	KMOVD    K1, AX
	ANDL     R15, AX
	JNZ      store

next:
	VMOVDQA64 Z3, Z4
	DECQ      R12
	JNZ       run
	CMPQ      R11, $16
	JB        slot
	SUBQ      candidates_base+0(FP), DI
	SHRQ      $2, DI
	MOVQ      DI, ret+104(FP)
	VZEROUPPER
	RET

long:
	MOVQ CX, DX

vector:
	VPXORD   (R9)(BX*2), Z0, Z1
	VPOPCNTW Z1, Z1
	VPCMPUW  $2, Z4, Z1, K1
	KMOVD    K1, AX
	CMPQ     DX, $32
	JA       whole
	MOVL     $1, R15
	MOVL     DX, CX
	SHLQ     CX, R15
	DECQ     R15
	ANDL     R15, AX

whole:
	TESTL AX, AX
	JNZ   store

advance:
	ADDQ $32, BX
	SUBQ $32, DX
	JA   vector
	JMP  next

store:
	CMPQ DI, R8
	JA   full

each:
	BSFQ       AX, CX
	ADDL       BX, CX
	MOVL       CX, (DI)
	ADDQ       $4, DI
	PREFETCHT0 (R10)(CX*4)
	LEAL       -1(AX), CX
	ANDL       CX, AX
	JNZ        each
	JMP        advance

full:
	MOVQ $-1, ret+104(FP)
	VZEROUPPER
	RET

// func probeAVX2(candidates []uint32, r *runs, width int, next []uint16, ids []uint32, q *Hash, limit int) int
TEXT ·probeAVX2(SB), NOSPLIT, $0-112
	MOVQ           candidates_base+0(FP), DI
	MOVQ           candidates_len+8(FP), R8
	LEAQ           -128(DI)(R8*4), R8
	MOVQ           r+24(FP), SI
	MOVQ           width+32(FP), R13
	MOVQ           next_base+40(FP), R9
	MOVQ           ids_base+64(FP), R10
	MOVQ           q+88(FP), R14
	MOVQ           limit+96(FP), AX
	INCL           AX
	VMOVD          AX, X2
	VPBROADCASTW   X2, Y2
	DECL           AX
	VMOVD          AX, X3
	VPBROADCASTW   X3, Y3
	VBROADCASTI128 nibbleCounts<>(SB), Y5
	VBROADCASTI128 lowNibbles<>(SB), Y6
	VBROADCASTI128 ones<>(SB), Y7
	XORL           R11, R11

slot:
	INCQ         R11
	MOVL         R11, AX
	ANDL         $15, AX
	VPBROADCASTW (R14)(AX*2), Y0
	VMOVDQA      Y2, Y4
	MOVQ         R13, R12

run:
	MOVL (SI), BX
	MOVL 4(SI), DX
	ADDQ $8, SI
	CMPQ BX, DX
	JE   next

	// Vectors that begin at multiples of their length never wait for a cache
	// line that holds nothing of the run, which nobody fetched.
	MOVQ BX, CX
	ANDQ $15, CX
	SUBQ CX, BX
	SUBQ BX, DX
	ADDL CX, CX
	MOVL $0x55555555, R15
	SHLL CX, R15

vector:
	VPXOR      (R9)(BX*2), Y0, Y1
	VPAND      Y6, Y1, Y8
	VPSRLW     $4, Y1, Y1
	VPAND      Y6, Y1, Y1
	VPSHUFB    Y8, Y5, Y8
	VPSHUFB    Y1, Y5, Y1
	VPADDB     Y8, Y1, Y1
	VPMADDUBSW Y7, Y1, Y1
	VPCMPGTW   Y1, Y4, Y1
	VPMOVMSKB  Y1, AX
	ANDL       R15, AX
	MOVL       $0x55555555, R15
	CMPQ       DX, $16
	JAE        whole
	LEAL       (DX)(DX*1), CX
	MOVL       $-1, R15
	SHLL       CX, R15
	NOTL       R15
	ANDL       R15, AX

whole:
	TESTL AX, AX
	JNZ   store

advance:
	ADDQ $16, BX
	SUBQ $16, DX
	JA   vector

next:
	VMOVDQA Y3, Y4
	DECQ    R12
	JNZ     run
	CMPQ    R11, $16
	JB      slot
	SUBQ    candidates_base+0(FP), DI
	SHRQ    $2, DI
	MOVQ    DI, ret+104(FP)
	VZEROUPPER
	RET

store:
	CMPQ DI, R8
	JA   full

each:
	BSFQ       AX, CX
	SHRL       $1, CX
	ADDL       BX, CX
	MOVL       CX, (DI)
	ADDQ       $4, DI
	PREFETCHT0 (R10)(CX*4)
	LEAL       -1(AX), CX
	ANDL       CX, AX
	JNZ        each
	JMP        advance

full:
	MOVQ $-1, ret+104(FP)
	VZEROUPPER
	RET

DATA nibbleCounts<>+0(SB)/8, $0x0302020102010100
DATA nibbleCounts<>+8(SB)/8, $0x0403030203020201
GLOBL nibbleCounts<>(SB), RODATA|NOPTR, $16

DATA lowNibbles<>+0(SB)/8, $0x0f0f0f0f0f0f0f0f
DATA lowNibbles<>+8(SB)/8, $0x0f0f0f0f0f0f0f0f
GLOBL lowNibbles<>(SB), RODATA|NOPTR, $16

DATA ones<>+0(SB)/8, $0x0101010101010101
DATA ones<>+8(SB)/8, $0x0101010101010101
GLOBL ones<>(SB), RODATA|NOPTR, $16
